package e2e

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

func TestTmpHarness(t *testing.T) {
	s := sharedS3(t)
	b, f := s.smallRun(t)
	b2, f2 := s.bigRun(t)
	fmt.Println(s.url, b, f, b2, f2, s.ca.file)
	p := s.proxy(t, nil)
	s.allow(t, b, "*", "s3:GetObject")
	for _, k := range []fault{well, faultReset, faultEnd, faultStall, fault500, fault503, fault429, faultShort, faultMore, faultLess, faultRange, faultGarbage, faultHangUp, faultGone, faultWhole} {
		p.decide = func(r *proxied) {
			isConn := k == faultGarbage || k == faultHangUp || k == faultGone
			if isConn == (r.Method == "") {
				r.Fault, r.At = k, 0.5
			}
		}
		tr := &http.Transport{TLSClientConfig: s.ca.trusted()}
		req, _ := http.NewRequest("GET", p.url+"/"+b+"/data_1.txt", nil)
		req.Header.Set("Range", "bytes=10-29")
		done := make(chan int)
		go func() {
			defer close(done)
			res, err := tr.RoundTrip(req)
			if err != nil {
				fmt.Println(k, err)
				return
			}
			all, err := io.ReadAll(res.Body)
			fmt.Println(k, res.Status, res.ContentLength, res.Header.Get("Content-Range"), res.Header.Get("Retry-After"), len(all), err)
		}()
		if k == faultStall {
			tr.CloseIdleConnections()
			continue
		}
		<-done
	}
	for _, r := range p.log() {
		fmt.Printf("%+v\n", r)
	}
}
