package devlab

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
)

// slowDatabase passes commands on to the database, but for those that have certain words in them: they wait until release.
type slowDatabase struct {
	words   [][]byte
	reached chan struct{} // closed once a command waits
	release chan struct{}
	once    sync.Once
}

// before puts it before the database, for the services that start from now on.
func (s *slowDatabase) before(w *world) {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = ln.Close() })
	to := w.lab.dbAddr
	w.lab.dbAddr = ln.Addr().String()
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			go s.pass(in, to)
		}
	}()
}

func (s *slowDatabase) pass(in net.Conn, to string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	go func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
	}()
	buffer := make([]byte, 1<<20)
	for {
		n, err := in.Read(buffer) // the driver writes a small command at once
		if err != nil {
			return
		}
		waits := true
		for _, word := range s.words {
			waits = waits && bytes.Contains(buffer[:n], word)
		}
		if waits {
			s.once.Do(func() { close(s.reached) })
			<-s.release
		}
		if _, err := out.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// A conversation that has to be loaded before its records can be decided holds up its own partition, and no other.
func TestARestoreHoldsNobodyUp(t *testing.T) {
	w := newWorld(t, "messaging")
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	made, err := kadm.NewClient(w.kafka()).ListTopics(ctx, topics.Messages)
	require.NoError(t, err)
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("")
	of := func(id string) int {
		return hash.Partition(&kgo.Record{Key: []byte(id)}, len(made[topics.Messages].Partitions))
	}
	slow := client.DirectID(alice.User.ID, bob.User.ID)
	quick := slow
	for n := 0; of(quick) == of(slow); n++ {
		quick = client.DirectID(alice.User.ID, w.user(fmt.Sprint("other-", n)).User.ID)
	}
	database := &slowDatabase{words: [][]byte{[]byte("find"), []byte("heads"), []byte(slow)}, reached: make(chan struct{}), release: make(chan struct{})}
	database.before(w)
	w.start("messaging")
	w.ready()
	a, b := w.device(alice), w.device(bob)
	sent := make(chan error, 2)
	for _, body := range []string{"1", "2"} {
		go func() {
			_, err := a.Send(ctx, slow, body)
			sent <- err
		}()
	}
	<-database.reached
	for i := range 5 {
		require.EqualValues(t, i+1, a.send(quick, "meanwhile").Seq)
	}
	require.Empty(t, b.messages(slow))
	close(database.release)
	for range 2 {
		require.NoError(t, <-sent)
	}
	require.Len(t, b.has(slow, 2), 2)
}
