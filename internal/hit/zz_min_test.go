package hit
import ("testing";"time";"os";"bytes")
func chain(n int) uint64 { x:=uint64(n)|1; for i:=0;i<n;i++ { x*=x|1;x*=x|1;x*=x|1;x*=x|1;x*=x|1;x*=x|1;x*=x|1;x*=x|1;x*=x|1;x*=x|1 }; return x }
var sink uint64
func minOf(f func()) time.Duration { m:=time.Hour; for range 400 { t:=time.Now(); f(); m=min(m,time.Since(t)) }; return m }
func TestMin(t *testing.T) {
	real,_ := os.ReadFile("../../../shared/data/stream_990.csv")
	if real == nil { t.Skip() }
	for _, c := range []struct{n string; b []byte}{{"hits",benchRows(1<<20,true)},{"stream",benchRows(1<<20,false)},{"real",bytes.Repeat(real[len(Header)+1:],46)}} {
		dst, bad := DecodeCSV(nil,nil,c.b,false)
		if len(bad) > 0 { t.Fatal(bad[0]) }
		d := minOf(func(){ dst,_ = DecodeCSV(dst[:0],nil,c.b,false) })
		cl := minOf(func(){ sink += chain(20000) })
		ghz := 20000*40/float64(cl.Nanoseconds())
		t.Logf("%s decode %.0f MB/s %.1f ns/row, %.1f cycles at %.2f GHz", c.n, float64(len(c.b))/d.Seconds()/1e6, float64(d.Nanoseconds())/float64(len(dst)), float64(d.Nanoseconds())/float64(len(dst))*ghz, ghz)
	}
}
