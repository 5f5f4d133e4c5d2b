package remote

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"dt/internal/tool"
)

const (
	mostObjects = 100_000 // that one name may stand for
	mostFolders = 100     // that are told
)

// List finds what a name stands for. An error begins with the name.
func (c *Client) List(ctx context.Context, name string) (*Listing, error) {
	scheme, rest, _ := strings.Cut(name, "://")
	if strings.EqualFold(scheme, "s3") {
		return c.listS3(ctx, rest)
	}
	o, err := newWebObject(name, c.web)
	if err != nil {
		return nil, err
	}
	if err := c.retry(ctx, o.Name, func() error { return c.web.stat(ctx, o) }); err != nil {
		return nil, err
	}
	return &Listing{Objects: []Object{*o}}, nil
}

// listS3 finds what bucket/key stands for: a folder if it ends in a slash, a pattern, or an object; and if there is no such object, the
// folder of that name, or else all that begins with it.
func (c *Client) listS3(ctx context.Context, name string) (*Listing, error) {
	bucket, key, _ := strings.Cut(name, "/")
	f := &finder{client: c, ctx: ctx, bucket: bucket, shown: s3Name(bucket, key)}
	switch {
	case bucket == "":
		return nil, tool.Hint(fmt.Errorf("s3://%s: no bucket is named", shown(name)), "s3://BUCKET/KEY")
	case s3utils.CheckValidBucketName(bucket) != nil:
		return nil, tool.Hint(fmt.Errorf("%s: %s is no name of a bucket", f.shown, shown(bucket)), "s3://BUCKET/KEY; it has 3 to 63 letters, digits, - and .")
	case s3utils.CheckValidObjectNamePrefix(key) != nil:
		return nil, fmt.Errorf("%s: a key is UTF-8, of at most 1024 bytes", f.shown)
	case c.s3Err != nil:
		return nil, c.s3Err
	}
	var err error
	switch dir := key[:strings.LastIndexByte(key, '/')+1]; {
	case isPattern(key):
		err = f.match("", strings.Split(key, "/"), "")
		if err == nil && len(f.found.Objects) == 0 {
			err = f.literal(key, dir)
		}
	case key == dir:
		f.found.Folder = true
		err = f.level(key, key)
	default:
		err = f.named(key, dir)
	}
	if err != nil {
		return nil, err
	}
	return &f.found, nil
}

// isPattern reports whether there is something in a key for path.Match.
func isPattern(key string) bool {
	_, err := path.Match(key, "")
	return err == nil && strings.ContainsAny(key, `*?[`)
}

// A finder looks for what one name stands for.
type finder struct {
	client *Client
	ctx    context.Context
	bucket string
	shown  string // the name
	found  Listing
	seen   int // objects and folders
}

// stat looks for an object. A nil object is not there.
func (f *finder) stat(key, dir string) (*Object, error) {
	var o Object
	missing := false
	err := f.client.retry(f.ctx, f.shown, func() (err error) {
		o, err = f.client.s3.stat(f.ctx, f.bucket, key)
		if missing = code(err) == noSuchKey; missing {
			return nil
		}
		return err
	})
	if err != nil || missing {
		return nil, err
	}
	o.Path = safePath(strings.TrimPrefix(key, dir))
	return &o, nil
}

// named finds the object of a name, or else what is in the folder, or else what begins with the name.
func (f *finder) named(key, dir string) error {
	o, err := f.stat(key, dir)
	if o != nil {
		f.found.Objects = append(f.found.Objects, *o)
		return nil
	}
	if err != nil && code(err) != accessDenied {
		return err
	}
	f.found.Folder = true
	inside := f.level(key+"/", key+"/")
	switch {
	case inside == nil && f.seen > 0:
		return nil
	case err != nil: // who may not read what is there is not told either that nothing is there
		return err
	case inside != nil:
		return f.ifDenied(inside)
	}
	if err := f.level(key, dir); err != nil {
		return err
	}
	if f.seen == 0 {
		return tool.Hint(fmt.Errorf("%s: there is no such object, nor does any begin like this", f.shown), "dtcat --list "+s3Name(f.bucket, dir))
	}
	return nil
}

// ifDenied says of a missing object, rather than of its folder, that it is missing.
func (f *finder) ifDenied(err error) error {
	if code(err) != accessDenied {
		return err
	}
	return tool.Hint(fmt.Errorf("%s: there is no such object; the bucket may not be listed, to look for others", f.shown), "is the name right? s3:ListBucket must be allowed")
}

// literal finds the object that is called like a pattern which nothing matches, as a shell does.
func (f *finder) literal(key, dir string) error {
	o, err := f.stat(key, dir)
	switch {
	case err != nil:
		return err
	case o == nil:
		return tool.Hint(fmt.Errorf("%s: no object matches", f.shown), "dtcat --list "+s3Name(f.bucket, key[:strings.LastIndexByte(key[:strings.IndexAny(key, `*?[\`)], '/')+1]))
	}
	f.found.Objects = append(f.found.Objects, *o)
	return nil
}

// match finds what matches the elements of a pattern in a folder. dir is where the pattern begins.
func (f *finder) match(folder string, elements []string, dir string) error {
	for len(elements) > 1 && !strings.ContainsAny(elements[0], `*?[\`) {
		folder += elements[0] + "/"
		if f.seen == 0 {
			dir = folder
		}
		elements = elements[1:]
	}
	pattern, last := elements[0], len(elements) == 1
	if last && pattern == "" { // the folders that match, themselves
		f.found.Folder = true
		return f.level(folder, dir)
	}
	fixed := folder + pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		fixed = folder + pattern[:i]
	}
	var inside []string
	err := f.pages(fixed, func(page *minio.ListBucketV2Result) {
		if !last {
			for _, p := range page.CommonPrefixes {
				if name, found := strings.CutPrefix(p.Prefix, folder); found && matches(pattern, strings.TrimSuffix(name, "/")) {
					inside = append(inside, p.Prefix)
				}
			}
			return
		}
		for i := range page.Contents {
			if name, found := strings.CutPrefix(page.Contents[i].Key, folder); found && matches(pattern, name) {
				f.add(&page.Contents[i], dir)
			}
		}
	})
	for _, sub := range inside {
		if err == nil {
			err = f.match(sub, elements[1:], dir)
		}
	}
	return err
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// level finds the objects that begin with a prefix and are in no folder behind it.
func (f *finder) level(prefix, dir string) error {
	return f.pages(prefix, func(page *minio.ListBucketV2Result) {
		for i := range page.Contents {
			if strings.HasPrefix(page.Contents[i].Key, prefix) {
				f.add(&page.Contents[i], dir)
			}
		}
		for _, p := range page.CommonPrefixes {
			if len(f.found.Folders) < mostFolders && strings.HasPrefix(p.Prefix, prefix) {
				f.found.Folders = append(f.found.Folders, s3Name(f.bucket, p.Prefix))
			}
		}
	})
}

// add takes an object of a listing, unless it only stands for a folder.
func (f *finder) add(info *minio.ObjectInfo, dir string) {
	if info.Size == 0 && strings.HasSuffix(info.Key, "/") {
		return
	}
	o := Object{
		Name:     s3Name(f.bucket, info.Key),
		Path:     safePath(strings.TrimPrefix(info.Key, dir)),
		Size:     max(info.Size, -1),
		Tag:      strongTag(info.ETag),
		Modified: info.LastModified,
		store:    f.client.s3,
		bucket:   f.bucket,
		key:      info.Key,
	}
	if o.Tag == "" {
		o.Tag = timeTag(info.LastModified)
	}
	o.ranges = o.Size >= 0 && o.Tag != ""
	f.found.Objects = append(f.found.Objects, o)
}

// pages calls each with the pages of what begins with a prefix, down to the next slash.
func (f *finder) pages(prefix string, each func(*minio.ListBucketV2Result)) error {
	for token, first := "", true; first || token != ""; first = false {
		var page minio.ListBucketV2Result
		err := f.client.retry(f.ctx, f.shown, func() (err error) {
			page, err = f.client.s3.page(f.ctx, f.bucket, prefix, token)
			return err
		})
		if err != nil {
			return err
		}
		if f.seen += len(page.Contents) + len(page.CommonPrefixes); f.seen > mostObjects {
			return tool.Hint(fmt.Errorf("%s: these are more than %d objects", f.shown, mostObjects), "part of them: "+s3Name(f.bucket, prefix)+"a*")
		}
		each(&page)
		if !page.IsTruncated {
			return nil
		}
		if next := page.NextContinuationToken; next == token || len(page.Contents)+len(page.CommonPrefixes) == 0 {
			return fmt.Errorf("%s: the server's listing does not come to an end", f.shown)
		}
		token = page.NextContinuationToken
	}
	return nil
}
