package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"dt/internal/e2e/torture"
)

// kafkaPatience bounds what a broker may take to start, and what a test waits for from it.
const kafkaPatience = 90 * time.Second

// kafkaLong reports whether the tests with brokers run in full length: make test-kafka-long.
func kafkaLong() bool { return os.Getenv("DT_KAFKA_LONG") != "" }

// kafkaOptions is what a test wants of its brokers, besides what scripts/kafka gives them.
type kafkaOptions struct {
	properties string // lines of server.properties
	format     string // flags of the storage format, such as "--add-scram …"
	jvm        string // flags of the JVM; full compilation is slower at the start and faster later: -XX:TieredStopAtLevel=4
	heap       string // 256m by default
	version    string // that of scripts/kafka by default
}

// A kafkaCluster is brokers of a test's own.
type kafkaCluster struct {
	n       int
	dir     string // what they keep: data1, log1, …
	port    int    // of the first
	options kafkaOptions
	running map[int]*kafkaBroker // by number, from 1; 0 is the ZooKeeper of old versions
	client  *kafka.Client        // for what a test does beside dtkafka
}

// A kafkaBroker is a process.
type kafkaBroker struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

var kafkaScript = sync.OnceValue(func() string {
	path, err := filepath.Abs(filepath.Join("..", "..", "scripts", "kafka"))
	if err != nil {
		panic(err)
	}
	return path
})

// kafkaFetched fetches a version of Kafka, once; its error is what is missing.
func kafkaFetched(version string) error {
	get, _ := kafkaVersions.LoadOrStore(version, sync.OnceValue(func() error {
		cmd := exec.Command(kafkaScript(), "get")
		cmd.Env = kafkaEnviron(version)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return errors.New(lines[len(lines)-1])
	}))
	return get.(func() error)()
}

var kafkaVersions sync.Map // what fetches each, once

// kafkaEnviron is our environment with the settings of scripts/kafka that decide where Kafka itself is.
func kafkaEnviron(version string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "KAFKA_") && !strings.HasPrefix(v, "KAFKA_CACHE=") && !strings.HasPrefix(v, "KAFKA_VERSION=")
	})
	if version != "" {
		env = append(env, "KAFKA_VERSION="+version, "KAFKA_ARCHIVE=no") // started once: an archive would cost more than it saves
	}
	return env
}

// kafkaOwn bounds how many brokers of clusters of tests' own are alive at a time, beside the shared one.
var kafkaOwn = newWeight(3)

// A weight is a semaphore.
type weight struct {
	lock  sync.Mutex
	freed *sync.Cond
	left  int
}

func newWeight(n int) *weight {
	w := &weight{left: n}
	w.freed = sync.NewCond(&w.lock)
	return w
}

func (w *weight) take(n int) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for w.left < n {
		w.freed.Wait()
	}
	w.left -= n
}

func (w *weight) give(n int) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.left += n
	w.freed.Broadcast()
}

// startKafka starts n brokers, at most three, with nothing in them. They end with the test. A test has one cluster at a time.
func startKafka(t testing.TB, n int, options kafkaOptions) *kafkaCluster {
	t.Helper()
	needKafka(t, options.version)
	dir := t.TempDir()
	kafkaOwn.take(n)
	k, err := openKafka(n, dir, options)
	t.Cleanup(func() {
		if k != nil {
			k.stop()
			if t.Failed() {
				k.logs(t)
			}
		}
		kafkaOwn.give(n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// needKafka leaves a test out where there is no Kafka.
func needKafka(t testing.TB, version string) {
	t.Helper()
	if err := kafkaFetched(version); err != nil {
		t.Log(err)
		missing(t, "a Kafka broker", "apt-get install default-jre-headless maven")
	}
}

var shared struct {
	once sync.Once
	k    *kafkaCluster
	err  error
}

// sharedKafka returns the one broker that all tests share which only need topics of their own.
func sharedKafka(t testing.TB) *kafkaCluster {
	t.Helper()
	needKafka(t, "")
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "dt-kafka-")
		if err != nil {
			shared.err = err
			return
		}
		shared.k, shared.err = openKafka(1, dir, kafkaOptions{heap: "512m"})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.k
}

// closeKafka ends the shared broker.
func closeKafka() {
	if shared.k != nil {
		shared.k.stop()
		os.RemoveAll(shared.k.dir)
	}
}

// openKafka starts brokers on ports that are free; what it leaves where it fails must be stopped all the same.
func openKafka(n int, dir string, options kafkaOptions) (*kafkaCluster, error) {
	k := &kafkaCluster{n: n, dir: dir, options: options, running: map[int]*kafkaBroker{}}
	if options.properties != "" {
		if err := os.WriteFile(filepath.Join(dir, "more.properties"), []byte(options.properties), 0o666); err != nil {
			return k, err
		}
	}
	var err error
	for range 3 { // another program may take a port before the broker does
		if k.port, err = freePorts(n); err != nil {
			return k, err
		}
		if err = k.startAll(); err == nil {
			k.client = &kafka.Client{Addr: kafka.TCP(strings.Split(k.bootstrap(), ",")...), Timeout: 20 * time.Second, Transport: &kafka.Transport{MetadataTTL: time.Second}}
			return k, nil
		}
		k.stop()
		if !strings.Contains(err.Error(), "already in use") {
			break
		}
	}
	return k, err
}

func (k *kafkaCluster) startAll() error {
	first := 1
	if strings.HasPrefix(k.options.version, "2.") {
		first = 0
	}
	for i := first; i <= k.n; i++ {
		if err := k.spawn(i); err != nil {
			return err
		}
	}
	for i := first; i <= k.n; i++ {
		if err := k.ready(i); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns the first of n ports that are free, as are those 100 above. They are below those that the system gives to
// programs that ask for any.
func freePorts(n int) (int, error) {
	for range 100 {
		base := 12000 + rand.IntN(19000)
		free := true
		for i := range n {
			for _, port := range []int{base + i, base + 100 + i} {
				l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
				if err != nil {
					free = false
					continue
				}
				l.Close()
			}
		}
		if free {
			return base, nil
		}
	}
	return 0, errors.New("no free ports for brokers")
}

// spawn starts broker i and does not wait until it is ready.
func (k *kafkaCluster) spawn(i int) error {
	b := &kafkaBroker{log: filepath.Join(k.dir, "log"+strconv.Itoa(i)), ended: make(chan struct{})}
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	b.cmd = exec.Command(kafkaScript(), "run", strconv.Itoa(i), strconv.Itoa(k.n))
	heap, jvm := k.options.heap, k.options.jvm
	if heap == "" {
		heap = "256m"
	}
	if jvm == "" {
		jvm = "-XX:TieredStopAtLevel=1"
	}
	b.cmd.Env = append(kafkaEnviron(k.options.version), "KAFKA_RUN="+k.dir, "KAFKA_PORT="+strconv.Itoa(k.port), "KAFKA_HEAP="+heap, "KAFKA_JVM="+jvm,
		"KAFKA_FORMAT="+k.options.format)
	if k.options.properties != "" {
		b.cmd.Env = append(b.cmd.Env, "KAFKA_PROPERTIES="+filepath.Join(k.dir, "more.properties"))
	}
	b.cmd.Stdout, b.cmd.Stderr = log, log
	if err := torture.Spawn(b.cmd); err != nil {
		return err
	}
	go func() {
		b.cmd.Wait()
		close(b.ended)
	}()
	k.running[i] = b
	return nil
}

// ready waits until broker i takes connections, which it does only when it can serve them.
func (k *kafkaCluster) ready(i int) error {
	b := k.running[i]
	for end := time.Now().Add(kafkaPatience); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", k.address(i)); err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-b.ended:
			log, _ := os.ReadFile(b.log)
			return fmt.Errorf("broker %d ended: %s", i, log[max(0, len(log)-1000):])
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("broker %d takes no connections after %v", i, kafkaPatience)
		}
	}
}

func (k *kafkaCluster) address(i int) string {
	port := k.port + i - 1
	if i == 0 {
		port = k.port + 100
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

// bootstrap is what clients take as brokers.
func (k *kafkaCluster) bootstrap() string {
	var list []string
	for i := range k.n {
		list = append(list, k.address(i+1))
	}
	return strings.Join(list, ",")
}

// kill9 kills broker i.
func (k *kafkaCluster) kill9(i int) {
	if b := k.running[i]; b != nil {
		b.cmd.Process.Kill()
		<-b.ended
	}
}

// restart starts broker i, which was killed, with what it kept, and waits until it takes connections.
func (k *kafkaCluster) restart(t testing.TB, i int) {
	t.Helper()
	if err := k.spawn(i); err != nil {
		t.Fatal(err)
	}
	if err := k.ready(i); err != nil {
		t.Fatal(err)
	}
}

// pause stops broker i in its tracks: its connections stay, and nothing is answered.
func (k *kafkaCluster) pause(i int) { k.running[i].cmd.Process.Signal(syscall.SIGSTOP) }

func (k *kafkaCluster) resume(i int) { k.running[i].cmd.Process.Signal(syscall.SIGCONT) }

// stop ends all brokers, whose data nobody wants.
func (k *kafkaCluster) stop() {
	for _, b := range k.running {
		b.cmd.Process.Kill()
	}
	for _, b := range k.running {
		<-b.ended
	}
	clear(k.running)
}

// logs shows the end of what the brokers said.
func (k *kafkaCluster) logs(t testing.TB) {
	for i := range k.n {
		if log, err := os.ReadFile(filepath.Join(k.dir, fmt.Sprintf("log%d", i+1))); err == nil && len(log) > 0 {
			t.Logf("broker %d:\n%s", i+1, log[max(0, len(log)-2000):])
		}
	}
}

// attempt tries what needs a leader or a controller until it works.
func attempt(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kafkaPatience)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

var topicNumber struct {
	sync.Mutex
	n int
}

// topic makes a topic with a name of its own, replicated as far as there are brokers. Settings are as in "retention.ms=1000".
func (k *kafkaCluster) topic(t testing.TB, partitions int, settings ...string) string {
	t.Helper()
	topicNumber.Lock()
	topicNumber.n++
	name := "t" + strconv.Itoa(topicNumber.n)
	topicNumber.Unlock()
	config := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: min(k.n, 3)}
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
	}
	c := k.client
	attempt(t, "create "+name, func(ctx context.Context) error {
		r, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		if err != nil {
			return err
		}
		if err := r.Errors[name]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			return err
		}
		m, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
		switch {
		case err != nil:
			return err
		case len(m.Topics) != 1 || len(m.Topics[0].Partitions) != partitions:
			return errors.New("not there yet")
		}
		for _, p := range m.Topics[0].Partitions {
			if p.Error != nil {
				return p.Error
			}
		}
		return nil
	})
	k.offsets(t, name) // the leaders know that they are
	return name
}

// drop deletes a topic.
func (k *kafkaCluster) drop(t testing.TB, topic string) {
	t.Helper()
	r, err := k.client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err == nil {
		err = r.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
}

// send writes messages without keys into a partition.
func (k *kafkaCluster) send(t testing.TB, topic string, partition int, codec kafka.Compression, values ...[]byte) {
	t.Helper()
	attempt(t, "send to "+topic, func(ctx context.Context) error {
		list := make([]kafka.Record, len(values))
		for i, v := range values {
			list[i].Time = time.Now()
			list[i].Value = kafka.NewBytes(v) // a nil one is a null value
		}
		r, err := k.client.Produce(ctx, &kafka.ProduceRequest{Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll, Compression: codec, Records: kafka.NewRecordReader(list...)})
		if err != nil {
			return err
		}
		return r.Error
	})
}

// offsets returns where each partition begins and where it ends.
func (k *kafkaCluster) offsets(t testing.TB, topic string) (first, last []int64) {
	t.Helper()
	c := k.client
	attempt(t, "offsets of "+topic, func(ctx context.Context) error {
		m, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		if m.Topics[0].Error != nil {
			return m.Topics[0].Error
		}
		n := len(m.Topics[0].Partitions)
		var ask []kafka.OffsetRequest
		for p := range n {
			ask = append(ask, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
		}
		r, err := c.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ask}})
		if err != nil {
			return err
		}
		first, last = make([]int64, n), make([]int64, n)
		for _, p := range r.Topics[topic] {
			if p.Error != nil {
				return p.Error
			}
			first[p.Partition], last[p.Partition] = p.FirstOffset, p.LastOffset
		}
		return nil
	})
	return first, last
}

// size is how many messages a topic has.
func (k *kafkaCluster) size(t testing.TB, topic string) int {
	t.Helper()
	n := int64(0)
	first, last := k.offsets(t, topic)
	for p := range first {
		n += last[p] - first[p]
	}
	return int(n)
}

// until waits until a topic has so many messages.
func (k *kafkaCluster) until(t testing.TB, topic string, messages int) {
	t.Helper()
	attempt(t, fmt.Sprintf("%d messages in %s", messages, topic), func(context.Context) error {
		if n := k.size(t, topic); n < messages {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

// values returns the messages of a partition, and their times.
func (k *kafkaCluster) values(t testing.TB, topic string, partition int) (values [][]byte, times []time.Time) {
	t.Helper()
	c := k.client
	first, last := k.offsets(t, topic)
	for at := first[partition]; at < last[partition]; {
		attempt(t, "fetch of "+topic, func(ctx context.Context) error {
			r, err := c.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Partition: partition, Offset: at, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 100 * time.Millisecond})
			if err == nil {
				err = r.Error
			}
			if err != nil {
				return err
			}
			for {
				m, err := r.Records.ReadRecord()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				v, err := kafka.ReadAll(m.Value)
				if err != nil {
					return err
				}
				if m.Offset >= at {
					values, times, at = append(values, v), append(times, m.Time), m.Offset+1
				}
			}
		})
	}
	return values, times
}

// cut deletes the records of a partition before an offset, as retention does in its time. The client has no call for this.
func (k *kafkaCluster) cut(t testing.TB, topic string, partition int, offset int64) {
	t.Helper()
	conn, err := net.Dial("tcp", k.address(1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(kafkaPatience))
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	b := []byte{0, 21, 0, 1, 0, 0, 0, 7} // DeleteRecords, version 1, number of the request
	b = text(b, "test")
	b = append(b, 0, 0, 0, 1)
	b = text(b, topic)
	b = append(b, 0, 0, 0, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	b = append(b, 0, 0, 0x27, 0x10) // 10 s
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		t.Fatal(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	if code := answer[len(answer)-2:]; !bytes.Equal(code, []byte{0, 0}) {
		t.Fatalf("records of %s[%d] cannot be deleted: error %d", topic, partition, binary.BigEndian.Uint16(code))
	}
	if first, _ := k.offsets(t, topic); first[partition] != offset {
		t.Fatalf("%s[%d] begins at %d, not at %d", topic, partition, first[partition], offset)
	}
}

// codecs returns which compressions the batches of a partition have, by the broker's own file: 0 none, 1 gzip, 4 zstd.
func (k *kafkaCluster) codecs(t testing.TB, topic string, partition int) []int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(k.dir, "data1", topic+"-"+strconv.Itoa(partition), "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	var list []int
	for len(b) >= 61 { // offset, length, epoch, magic, checksum, attributes, …
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if binary.BigEndian.Uint64(b[8:]) == 0 || size > len(b) {
			break // what is behind is room that the broker has not used yet
		}
		if c := int(b[22] & 7); !slices.Contains(list, c) {
			list = append(list, c)
		}
		b = b[size:]
	}
	slices.Sort(list)
	return list
}

// produce and consume are stages that talk to these brokers.
func (k *kafkaCluster) produce(topic string, flags ...string) stage {
	return slices.Concat(stage{"dtkafka", "produce", topic, "--bootstrap", k.bootstrap()}, flags)
}

func (k *kafkaCluster) consume(topic string, flags ...string) stage {
	return slices.Concat(stage{"dtkafka", "consume", topic, "--bootstrap", k.bootstrap()}, flags)
}

// toEnd reads a topic like a file.
func (k *kafkaCluster) toEnd(topic string, flags ...string) stage {
	return k.consume(topic, append([]string{"--until", "end"}, flags...)...)
}

// systemPython is the Python that Debian's packages of Kafka clients are for.
const systemPython = "/usr/bin/python3"

var kafkaPythonMissing = sync.OnceValue(func() error {
	return exec.Command(systemPython, "-c", "import confluent_kafka").Run()
})

// kafkaClient runs check/kafkaclient.py, which is a client of another make, and returns its standard output.
func kafkaClient(t testing.TB, command string, args ...string) []byte {
	t.Helper()
	if kafkaPythonMissing() != nil {
		missing(t, "a Kafka client for Python", "apt-get install python3-confluent-kafka")
	}
	args = append([]string{systemPython, "check/kafkaclient.py", command}, args...)
	r := pipeline(t, nil, args)
	if r.Codes[0] != 0 {
		t.Fatalf("%s: exit %d\n%s%s", strings.Join(args, " "), r.Codes[0], r.Out, r.Errs[0])
	}
	return r.Out
}

// peak follows the highest resident set of a process until it ends; what it returns waits for that.
func peak(t testing.TB, cmd *exec.Cmd) func() int64 {
	result := make(chan int64, 1)
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	go func() {
		highest := int64(0)
		for ; ; time.Sleep(50 * time.Millisecond) {
			b, err := os.ReadFile(status)
			_, rest, ok := bytes.Cut(b, []byte("VmHWM:"))
			if err != nil || !ok { // ended; a zombie has no memory
				result <- highest
				return
			}
			kib, _ := strconv.ParseInt(strings.Fields(string(rest[:min(len(rest), 40)]))[0], 10, 64)
			highest = max(highest, kib<<10)
		}
	}()
	return func() int64 { return <-result }
}
