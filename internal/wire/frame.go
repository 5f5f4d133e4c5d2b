// Package wire is the stream between the programs: framed batches of TDC words, numbered along their lane, with
// the epochs, horizons and late words that the source decided, the ledger of what was set aside, and marks. FORMAT.md beside
// this file is its specification.
//
// Ownership: what Reader.Next returns belongs to the Reader and is good until the next call of Next.
package wire

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"unicode"
	"unicode/utf8"

	"dt/internal/hit"
)

// Kind is the kind of a frame.
type Kind uint8

// The kinds on the wire, and two that Reader.Next makes up.
const (
	KindLane   Kind = 1
	KindWords  Kind = 2
	KindLate   Kind = 3
	KindLedger Kind = 4
	KindMark   Kind = 5
	KindMap    Kind = 6
	KindEnd    Kind = 7

	KindStream Kind = 0xD7 // a preamble: the next stream begins
	KindCut    Kind = 0xFF // the lane was cut: no end frame, and nothing more of it follows
)

// Flags of a frame.
const (
	FlagChambers  = 0x01
	FlagPresence  = 0x02
	FlagSkippable = 0x80
)

// Sizes and bounds of the format.
const (
	PreambleSize = 8
	HeaderSize   = 48
	MaxPayload   = 983_040
	MaxCover     = 65_536 // numbers that a frame may cover
	MaxLanes     = 65_536
	MaxRun       = 64 // bytes of a run's name, or a form
	MaxText      = 4096
	MaxReasons   = 64
	Version      = 1
)

var preamble = [PreambleSize]byte{0xD7, 'd', 't', 'h', 'i', 't', '\n', Version}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// IsStream reports whether head, the first bytes of an input, opens a stream of any version.
func IsStream(head []byte) bool {
	return len(head) >= PreambleSize && string(head[:PreambleSize-1]) == string(preamble[:PreambleSize-1])
}

// A Lane is an ordered part, K of N, of a run.
type Lane struct {
	Run        string
	K, N       uint32
	Map        uint64 // digest of the chamber map; 0: chambers are not known
	Form       string // what the source read: FormCSV and so on, or nothing
	FloorEpoch uint32 // results up to this epoch and orbit are written already
	FloorOrbit uint64

	FloorNumber uint64 // and records below this number are in a ledger already
	Anew        bool   // whoever has read something of the lane forgets it, and begins at the floor
	Settings    string // digest of the settings that the results of the run have, or ""

	Start uint64 // of a lane frame that was read: the number that it stands at
}

// laneAnew is the flag of Lane.Anew.
const laneAnew = 1

// Resumed reports whether the lane is taken up where results end: records below FloorNumber may come again, for what of them those results do not have.
func (l *Lane) Resumed() bool { return l.FloorEpoch > 0 || l.FloorOrbit > 0 }

// Forms of a source, so that it can be turned back as it was.
const (
	FormHeader = "csv+header"
	FormCSV    = "csv"
	FormJSON   = "json"
	FormRaw    = "raw"
	FormLCP    = "lcp"
	FormSim    = "sim"
)

// ID is what identifies a lane.
type ID struct {
	Run  string
	K, N uint32
}

// ID returns the lane's identity.
func (l *Lane) ID() ID { return ID{l.Run, l.K, l.N} }

func (id ID) compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Run, other.Run), cmp.Compare(id.N, other.N), cmp.Compare(id.K, other.K))
}

func (id ID) String() string {
	if id.N == 1 {
		return "run " + id.Run
	}
	return fmt.Sprintf("run %s, lane %d of %d", id.Run, id.K, id.N)
}

// check reports what a lane frame can't say.
func (l *Lane) check() error {
	if err := CheckRun(l.Run); err != nil {
		return err
	}
	if l.K < 1 || l.K > l.N || l.N > MaxLanes {
		return fmt.Errorf("lane %d of %d", l.K, l.N)
	}
	if len(l.Form) > MaxRun || !printable(l.Form) {
		return fmt.Errorf("the form %q is longer than %d bytes or not printable text", l.Form, MaxRun)
	}
	if len(l.Settings) > MaxRun || !printable(l.Settings) {
		return fmt.Errorf("the settings %q are longer than %d bytes or not printable text", l.Settings, MaxRun)
	}
	return nil
}

// CheckRun reports what is wrong with a run's name, if anything.
func CheckRun(run string) error {
	if run == "" || len(run) > MaxRun {
		return fmt.Errorf("a run's name has 1 to %d bytes, this has %d", MaxRun, len(run))
	}
	if !printable(run) {
		return fmt.Errorf("the run's name %q is not printable text", run)
	}
	return nil
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// LaneOf returns which lane of n, from 1, the words of an orbit travel in.
func LaneOf(orbit uint32, n uint32) uint32 {
	return 1 + uint32(uint64(orbit*2_654_435_769)*uint64(n)>>32)
}

// A Frame is one frame, read or to be written. Which fields are set depends on Kind.
type Frame struct {
	Kind        Kind
	Flags       uint8
	Count       int
	First, Next uint64 // the numbers covered
	Horizon     uint64
	Epoch, Open uint32

	Lane *Lane // the lane it belongs to (all kinds but KindStream)

	Words    []uint64 // words and late: as many as Count
	Present  []uint64 // bitmap of [First, Next), nil when all are present
	Newest   []uint32 // late: the newest orbit of each word
	Chambers []uint8  // of each word, nil when not known

	Ledger Ledger
	Mark   Mark
	End    End

	raw     []byte // the whole frame as it was read
	payload []byte
}

// Payload returns the text of a map frame.
func (f *Frame) Payload() []byte { return f.payload }

// A Ledger is what one stage did with the words of a stretch: Read = Kept + the sum of its Entries.
type Ledger struct {
	Stage      string
	Read, Kept int
	Entries    []Entry
}

// An Entry counts what was set aside for one reason; Numbers is the bitmap of which.
type Entry struct {
	Reason  string
	Count   int
	Numbers []uint64
}

// NoPartition is the partition of marks whose place has none.
const NoPartition = 1<<32 - 1

// A Mark says how far the source has come: the records before Number came from before Offset, and none after.
type Mark struct {
	Newest    uint64 // orbit
	Time      int64  // unix, ns
	Number    uint64
	Offset    uint64
	Source    uint64 // Number in the whole run
	Serial    uint64
	Partition uint32
	Name, Tag string
	State     []byte // the source's judgement before Number; see FORMAT.md
}

// An End closes a lane.
type End struct {
	Stopped              bool // not exhausted
	Read, Late, Rejected uint64
	Why                  string
}

// bitmapLen is the length of a bitmap of n numbers.
func bitmapLen(n int) int { return (n + 63) / 64 }

// popcount counts the bits of a bitmap.
func popcount(b []uint64) int {
	n := 0
	for _, x := range b {
		n += bits.OnesCount64(x)
	}
	return n
}

// A FormatError is a stream that is not as FORMAT.md says. At counts bytes from the beginning of the input.
type FormatError struct {
	At  int64
	Msg string
}

func (e *FormatError) Error() string { return fmt.Sprintf("at byte %d: %s", e.At, e.Msg) }

// NotStreamError is an input that begins with something else than a stream.
type NotStreamError struct {
	Head []byte // how it begins; empty for an empty input
}

func (e *NotStreamError) Error() string {
	if len(e.Head) == 0 {
		return "empty input, not a hit stream"
	}
	return "not a hit stream"
}

// header is the fixed part of a frame, as bytes.
func putHeader(b []byte, f *Frame, length int) {
	b[0], b[1], b[2], b[3] = byte(f.Kind), f.Flags, 0, 0
	binary.LittleEndian.PutUint32(b[4:], uint32(length))
	binary.LittleEndian.PutUint32(b[8:], uint32(f.Count))
	binary.LittleEndian.PutUint64(b[16:], f.First)
	binary.LittleEndian.PutUint64(b[24:], f.Next)
	binary.LittleEndian.PutUint64(b[32:], f.Horizon)
	binary.LittleEndian.PutUint32(b[40:], f.Epoch)
	binary.LittleEndian.PutUint32(b[44:], f.Open)
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:HeaderSize+length]))
}

func checksum(frame []byte) uint32 {
	crc := crc32.Update(0, castagnoli, frame[:12])
	return crc32.Update(crc, castagnoli, frame[16:])
}

// parseHeader reads and checks a header but for its checksum.
func (f *Frame) parseHeader(b []byte) (length int, err error) {
	n := binary.LittleEndian.Uint32(b[4:])
	if n > MaxPayload {
		return 0, fmt.Errorf("a frame of %d bytes; at most %d are possible", n, MaxPayload)
	}
	if n%8 != 0 {
		return 0, fmt.Errorf("a frame of %d bytes, which is no multiple of 8", n)
	}
	f.Kind, f.Flags = Kind(b[0]), b[1]
	f.Count = int(binary.LittleEndian.Uint32(b[8:]))
	f.First = binary.LittleEndian.Uint64(b[16:])
	f.Next = binary.LittleEndian.Uint64(b[24:])
	f.Horizon = binary.LittleEndian.Uint64(b[32:])
	f.Epoch = binary.LittleEndian.Uint32(b[40:])
	f.Open = binary.LittleEndian.Uint32(b[44:])
	return int(n), nil
}

// A checksumError is bytes that are not the frame that they seem to be.
type checksumError struct{ got, want uint32 }

func (e *checksumError) Error() string {
	return fmt.Sprintf("checksum %08x instead of %08x: the stream is damaged", e.got, e.want)
}

// isChecksum reports whether an error is that.
func isChecksum(err error) bool {
	_, is := err.(*checksumError) //nolint:errorlint // parse returns it as it is
	return is
}

// parse takes a frame apart whose header was parsed: raw is all of it, words its payload. It reports whether its kind is known; others may be skipped.
func (f *Frame) parse(raw []byte, words []uint64) (known bool, err error) {
	f.raw, f.payload = raw, raw[HeaderSize:]
	if got, want := checksum(raw), binary.LittleEndian.Uint32(raw[12:]); got != want {
		return false, &checksumError{got, want}
	}
	if err := f.check(raw); err != nil {
		return false, err
	}
	switch {
	case f.Kind >= KindLane && f.Kind <= KindEnd:
		return true, f.parsePayload(words)
	case f.Flags&FlagSkippable != 0:
		return false, nil
	}
	return false, fmt.Errorf("a frame of unknown kind %d", f.Kind)
}

// check is for what a good checksum does not prove: that the writer kept to the format.
func (f *Frame) check(b []byte) error {
	if b[2] != 0 || b[3] != 0 {
		return fmt.Errorf("reserved bytes of the frame are not 0")
	}
	if err := f.checkCover(); err != nil {
		return err
	}
	if f.Open > f.Epoch && f.Kind == KindWords {
		return fmt.Errorf("words of epoch %d, which is closed", f.Epoch)
	}
	return nil
}

func (f *Frame) checkCover() error {
	if f.First > f.Next || f.Next-f.First > MaxCover {
		return fmt.Errorf("a frame covers the numbers %d to %d; at most %d are possible", f.First, f.Next, MaxCover)
	}
	return nil
}

// A cursor takes a payload apart. After the first thing that is missing, ok is false for good.
type cursor struct {
	b  []byte
	ok bool
}

func (c *cursor) take(n int) []byte {
	if !c.ok || n < 0 || n > len(c.b) {
		c.ok = false
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// done checks that only padding is left.
func (c *cursor) done() bool {
	if !c.ok || len(c.b) >= 8 {
		return false
	}
	for _, x := range c.b {
		if x != 0 {
			return false
		}
	}
	return true
}

// parsePayload takes the payload of a known kind apart. words is the payload as words.
func (f *Frame) parsePayload(words []uint64) error {
	allowed := uint8(0)
	if f.Kind == KindWords || f.Kind == KindLate {
		allowed = FlagChambers | FlagPresence
	}
	if f.Flags&^(allowed|FlagSkippable) != 0 {
		return fmt.Errorf("flags %#02x of a frame of kind %d", f.Flags, f.Kind)
	}
	switch f.Kind {
	case KindWords, KindLate:
		return f.parseWords(words)
	case KindLedger:
		return f.parseLedger()
	case KindLane:
		return f.parseLane()
	case KindMark:
		return f.parseMark()
	case KindEnd:
		return f.parseEnd()
	case KindMap:
		// JSON never ends in a zero byte, so the padding is what does.
		n := len(f.payload)
		for n > 0 && n > len(f.payload)-7 && f.payload[n-1] == 0 {
			n--
		}
		if n == 0 || f.payload[n-1] == 0 {
			return fmt.Errorf("a map frame without text, or with too much padding")
		}
		f.payload = f.payload[:n]
		return f.point("map")
	}
	return nil
}

// point checks a frame that stands at a number and covers none.
func (f *Frame) point(name string) error {
	if f.First != f.Next || f.Count != 1 {
		return fmt.Errorf("the %s frame has count %d and covers the numbers %d to %d", name, f.Count, f.First, f.Next)
	}
	return nil
}

func (f *Frame) parseWords(words []uint64) error {
	cover := int(f.Next - f.First)
	n := f.Count
	if n > cover || n < cover && f.Flags&FlagPresence == 0 {
		return fmt.Errorf("a frame of %d words that covers %d numbers", n, cover)
	}
	size := 8 * n
	if f.Flags&FlagPresence != 0 {
		size += 8 * bitmapLen(cover)
	}
	if f.Kind == KindLate {
		size += 4 * n
	}
	if f.Flags&FlagChambers != 0 {
		size += n
	}
	if size > len(f.payload) || len(f.payload)-size >= 8 {
		return fmt.Errorf("a frame of %d words has %d bytes instead of %d", n, len(f.payload), size)
	}
	f.Words = words[:n]
	at := n
	f.Present = nil
	if f.Flags&FlagPresence != 0 {
		f.Present = words[at : at+bitmapLen(cover)]
		at += len(f.Present)
		if tail := cover % 64; tail != 0 && f.Present[len(f.Present)-1]>>tail != 0 || popcount(f.Present) != n {
			return fmt.Errorf("the presence bitmap does not say %d words of %d", n, cover)
		}
	}
	c := cursor{f.payload[8*at:], true}
	f.Newest = f.Newest[:0]
	if f.Kind == KindLate {
		for range n {
			f.Newest = append(f.Newest, c.u32())
		}
	}
	f.Chambers = nil
	if f.Flags&FlagChambers != 0 {
		f.Chambers = c.take(n)
		if !areChambers(f.Chambers) {
			return fmt.Errorf("a chamber that is neither 0 to %d nor 255", hit.MaxChambers)
		}
	}
	if !c.done() {
		return fmt.Errorf("a frame of %d words with bytes left over", n)
	}
	return nil
}

// areChambers reports whether each byte is at most 32, or 255: eight at a time, in which 255 becomes 0 and no sum carries over.
func areChambers(b []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	var wrong uint64
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		x = (x&^high + low) ^ x&high
		wrong |= x&^high + (0x7F-hit.MaxChambers-1)*low | x
	}
	for _, c := range b {
		if c+1 > hit.MaxChambers+1 {
			return false
		}
	}
	return wrong&high == 0
}

func (f *Frame) parseLedger() error {
	c := cursor{f.payload, true}
	cover := int(f.Next - f.First)
	if f.Count > MaxReasons {
		return fmt.Errorf("a ledger of %d reasons; at most %d are possible", f.Count, MaxReasons)
	}
	l := &f.Ledger
	l.Stage = reuse(l.Stage, c.take(int(c.u8())))
	l.Read, l.Kept = int(c.u32()), int(c.u32())
	if cap(l.Entries) < f.Count {
		l.Entries = make([]Entry, f.Count)
	}
	l.Entries = l.Entries[:f.Count]
	sum := 0
	var seen [MaxCover / 64]uint64
	for i := range l.Entries {
		e := &l.Entries[i]
		e.Reason = reuse(e.Reason, c.take(int(c.u8())))
		e.Count = int(c.u32())
		e.Numbers = e.Numbers[:0]
		for range bitmapLen(cover) {
			e.Numbers = append(e.Numbers, c.u64())
		}
		if !c.ok || popcount(e.Numbers) != e.Count || !printable(e.Reason) {
			return fmt.Errorf("a ledger's reason %d does not fit its %d numbers", i+1, cover)
		}
		if tail := cover % 64; tail != 0 && e.Numbers[len(e.Numbers)-1]>>tail != 0 {
			return fmt.Errorf("a ledger's reason %d names numbers past its stretch", i+1)
		}
		for k, x := range e.Numbers {
			if seen[k]&x != 0 {
				return fmt.Errorf("a ledger's reason %d names a number again", i+1)
			}
			seen[k] |= x
		}
		sum += e.Count
	}
	if !c.done() || !printable(l.Stage) || l.Read != l.Kept+sum || l.Read > cover {
		return fmt.Errorf("a ledger that does not balance: read %d, kept %d, set aside %d, of %d numbers", l.Read, l.Kept, sum, cover)
	}
	return nil
}

// reuse returns old when b says the same, so that repeated names allocate nothing.
func reuse(old string, b []byte) string {
	if old == string(b) {
		return old
	}
	return string(b)
}

func (f *Frame) parseLane() error {
	c := cursor{f.payload, true}
	l := Lane{K: c.u32(), N: c.u32(), Map: c.u64(), FloorEpoch: c.u32()}
	flags := c.u32()
	l.FloorOrbit, l.FloorNumber = c.u64(), c.u64()
	l.Run = string(c.take(int(c.u8())))
	l.Form = string(c.take(int(c.u8())))
	if len(c.b) > 0 && c.b[0] > 0 { // else all that follows is padding
		l.Settings = string(c.take(int(c.u8())))
	}
	l.Anew, l.Start = flags&laneAnew != 0, f.First
	if !c.done() {
		return fmt.Errorf("a lane frame of the wrong size")
	}
	if flags&^laneAnew != 0 {
		return fmt.Errorf("flags %#02x in a lane frame", flags)
	}
	if err := l.check(); err != nil {
		return err
	}
	f.Lane = &l
	return f.point("lane")
}

func (f *Frame) parseMark() error {
	c := cursor{f.payload, true}
	m := &f.Mark
	m.Newest, m.Time, m.Number, m.Offset = c.u64(), int64(c.u64()), c.u64(), c.u64()
	m.Source, m.Serial, m.Partition = c.u64(), c.u64(), c.u32()
	m.Name = reuse(m.Name, c.take(int(c.u16())))
	m.Tag = reuse(m.Tag, c.take(int(c.u16())))
	m.State = c.take(int(c.u16()))
	if !c.done() || m.Number > f.Next || max(len(m.Name), len(m.Tag), len(m.State)) > MaxText {
		return fmt.Errorf("a mark frame that makes no sense")
	}
	return f.point("mark")
}

func (f *Frame) parseEnd() error {
	c := cursor{f.payload, true}
	e := &f.End
	why := c.u8()
	e.Stopped = why == 2
	e.Read, e.Late, e.Rejected = c.u64(), c.u64(), c.u64()
	e.Why = string(c.take(int(c.u16())))
	if !c.done() || why != 1 && why != 2 || len(e.Why) > MaxText {
		return fmt.Errorf("an end frame that makes no sense")
	}
	return f.point("end")
}
