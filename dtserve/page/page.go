// Package page holds the page that dtserve serves, and its documentation of the endpoints.
package page

import "embed"

// Files are the files of the page.
//
//go:embed *.html *.css *.js *.svg plots tabs
var Files embed.FS
