package remote

import "context"

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
		if head, err = readSoon(g.body, n, c.settings.Stall); err == nil && g.size >= n && int64(len(head)) < n {
			err = errEarly
		}
		return err
	})
	return head, err
}
