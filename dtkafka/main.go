// Dtkafka joins pipes across machines through Apache Kafka.
//
//	dtcat run/ --rate 1000 | dtkafka produce cosmo-stream
//	dtkafka consume cosmo-stream | dtfilter | dtchamber | dthist | dtkafka produce cosmo-results
//	dtkafka consume cosmo-results | dtserve
//	dtkafka topics create cosmo-stream --partitions 8
//
// Pipes whose processes may die and come back anywhere, without a result lost or doubled (internal/hist/RESUME.md):
//
//	dtcat run/ --run run7 | dtkafka produce cosmo-stream --resume
//	dtkafka consume cosmo-stream --group g --resume-from cosmo-partial | dtfilter | dtchamber | dthist --partial | dtkafka produce cosmo-partial
//	dtkafka consume cosmo-partial --group m --resume-from cosmo-results | dthist --merge | dtkafka produce cosmo-results
//
// # Producing
//
// Standard input is a stream or lines, which is told by its first bytes. Of a stream each message is a small stream that can be read alone
// (internal/wire/FORMAT.md): a whole run is split by orbit over the topic's partitions, so that a partition is a lane; the lanes of a run that is split
// already go to the partitions of their numbers, as they are. Marks and ends go to every partition, and a quiet one is told at least every 20 ms
// how far the run has come. --as json or csv writes a message a word instead, as the first producers did.
// Of lines each is a message: partial lines of dthist in the partition that their lane comes from, all others in the first, in order. A last line that is torn is left
// out, and the exit status is 1. That another program writes whole result lines between ours is told.
//
// Every batch waits for all in-sync replicas and has a number by which the brokers drop it if it comes again, so nothing is
// lost, doubled or swapped however often a broker dies. Nothing waits for company: what comes in on a quiet pipe goes out at once, and while a batch is under way the
// next one collects. If the brokers are away produce tries again, without end or as long as --give-up says; then the pipe behind it fills up. When it gives up it
// says what was acknowledged, and exits 1.
//
// A stream that was cut before it came here gets no end in the topic, and the exit status is 1. SIGTERM ends the lanes as stopped.
//
// With --resume a stream goes on with the run that is in the topic: the one of its name, or, if it was given none, the newest that is not complete, whose name it takes over. It is split as it was before, and
// what each lane has is left out, so it may begin where the run began, or at a mark that all lanes have: "dtkafka topics source TOPIC" says the last of these, for
// dtcat --resume-from. What is left out is compared with some of what is there, so that other data are found out. A run that is complete is not
// sent again if it has a name (dtcat --run NAME); without one it would be another run.
//
// # Consuming
//
// What a topic holds is told by its messages, or by --as: frames, words (a message each, JSON or CSV), or lines. Frames go on as they are, in the lanes that the partitions are; marks say
// topic, partition and offset. Words become one lane, which is judged here as dtcat would: partitions are merged by the messages' times, those of equal times by orbit,
// and a message waits 25 ms for earlier ones of other partitions. Messages that can't be used are told, counted and passed over.
//
// Reading begins at the topic's end, or as --from says, and goes on until ^C or --until. With --until end a topic is read like a file: lanes that have their end in it come out whole, the others
// as stopped. Words that are in the topic twice go on, and are dropped by their numbers and counted in the ledger; where records or messages are missing that is
// told, the result is "Complete": 0, and the exit status is 1.
//
// --state FILE keeps the place, once a second and at the end. With --group partitions are shared with the other members of the group, and the place is kept by
// the brokers; a topic of words is read by one member as a whole, and the others stand by. A place also says the lanes' numbers, so that whoever goes on there knows what is missing;
// a lane of words goes on with its numbers and its judgement. Where reading begins in the middle of a lane, windows that it may have begun in are incomplete.
//
// With --resume-from TOPIC reading begins where the results that are in that topic end, whatever place was kept. For frames these are the lines of dthist --partial: each lane begins at
// its place, under a floor that says what is written. For lines of dthist --partial they are those of dthist --merge: the last of them comes first. A partition that moves to another member is begun
// anew there. The topic of the lines keeps its number of partitions.
//
// --member NAME is for processes that are started again when they die: the new one has the partitions of the old one at once, also if that still lives; then it ends, with status 1.
//
// Of word messages --run names the run, --lateness says how long a slow FPGA is waited for, --rejects keeps those that are no words in a file, and --strict stops at the first of them.
//
// When nobody reads its output any more consume ends, also if there is nothing to write.
//
// # Connection
//
// By flags, by variables (--bootstrap is DT_KAFKA_BOOTSTRAP), or by --properties FILE with the names that Kafka's own clients and librdkafka have: bootstrap.servers, security.protocol,
// sasl.mechanism, sasl.jaas.config, ssl.truststore.location (PEM), ssl.ca.location and so on. A password is in that file, in the file that --password-file names, or in DT_KAFKA_PASSWORD; never on the command line.
package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"dt/internal/tool"
	"dt/internal/wire"
)

const examples = `  dtkafka topics create cosmo-stream --partitions 8
  dtcat run/ --rate 1000 | dtkafka produce cosmo-stream
  dtkafka consume cosmo-stream | dtfilter | dtchamber | dthist | dtkafka produce cosmo-results
  dtkafka consume cosmo-results | dtserve
  dtkafka consume cosmo-stream --until end | dtfilter | dthist --window all
`

type flags struct {
	Produce produceCmd `cmd:"" help:"Write standard input, a stream or lines, to a topic."`
	Consume consumeCmd `cmd:"" help:"Read a topic to standard output."`
	Topics  topicsCmd  `cmd:"" help:"Create, list, describe and delete topics; say how far behind a group is, and where a source goes on."`
}

// softMemory is where the garbage collector begins to work harder.
const softMemory = 96 << 20

func main() {
	debug.SetMemoryLimit(softMemory)
	tool.Main("dtkafka", run)
}

func run(env *tool.Env) error {
	var cli flags
	command, err := env.ParseCommand(&cli, "Joins pipes across machines through Apache Kafka.", examples,
		"lateness", fmt.Sprint(wire.DefaultLateness), "bootstrap", defaultBootstrap)
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(command, "produce"):
		return cli.Produce.run(env)
	case strings.HasPrefix(command, "consume"):
		return cli.Consume.run(env)
	}
	return cli.Topics.run(env, command)
}
