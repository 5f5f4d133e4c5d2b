package remote

import (
	"context"
	"io"
)

// Head returns the first n bytes of an object, or all if it has fewer.
func (c *Client) Head(ctx context.Context, o *Object, n int64) (head []byte, err error) {
	if o.Size >= 0 {
		n = min(n, o.Size)
	}
	if n == 0 {
		return nil, nil
	}
	err = c.retry(ctx, o.Name, func() error {
		g, err := o.store.get(ctx, o, 0, n)
		if err != nil {
			return err
		}
		defer g.body.Close()
		head, err = io.ReadAll(io.LimitReader(g.body, n))
		return err
	})
	return head, err
}
