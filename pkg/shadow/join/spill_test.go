package join

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
)

func TestWhatIsTheSameIsWrittenOnce(t *testing.T) {
	r := start(t, Options{})
	r.add(side.Live, at(1), "long")
	r.add(side.Candidate, at(1), "long")
	require.EqualValues(t, headerSize+4, r.Stats().Disk)
	r.add(side.Baseline, at(1), "other")
	r.advance("messages/3", 1)
	require.Equal(t, []string{"messages/3@1 long long other"}, r.takeEmitted())
}

func TestFilesGoWithTheirJoins(t *testing.T) {
	r := start(t, Options{}).small()
	body := strings.Repeat("x", 70)
	for offset := range int64(40) {
		r.add(side.Live, at(offset), fmt.Sprint(body, offset))
		r.add(side.Candidate, at(offset), fmt.Sprint(body, -offset))
	}
	all := len(r.files())
	require.Greater(t, all, 10)
	for _, file := range r.files() {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	r.advance("messages/3", 19)
	require.InDelta(t, all/2, len(r.files()), 2)
	for i, line := range r.takeEmitted() {
		require.Equal(t, fmt.Sprintf("messages/3@%d %s%d %s%d -", i, body, i, body, -i), line)
	}
	// The candidate's come back to joins whose first bodies are in older files.
	r.add(side.Baseline, at(20), "late")
	r.advance("messages/3", 20)
	require.Len(t, r.takeEmitted(), 1)
	r.advance("messages/3", 39)
	require.Empty(t, r.files())
	require.Zero(t, r.Stats().Disk)
}

func TestAFullDiskDropsResults(t *testing.T) {
	r := start(t, Options{DiskLimit: 10_000}).small()
	other := Key{Stream: "messages/4", Offset: 1}
	body := func(s side.Side, offset int64) string { return fmt.Sprint(strings.Repeat("x", 86), s, offset) }
	for offset := range int64(100) {
		r.add(side.Live, at(offset), body(side.Live, offset))
	}
	require.Greater(t, r.Stats().Dropped, int64(40))
	require.LessOrEqual(t, r.Stats().Disk, int64(5000), "a stream leaves as much free as it takes")
	dropped := r.Stats().Dropped
	r.add(side.Live, other, "a")
	require.Equal(t, dropped, r.Stats().Dropped, "there is room for another stream")
	for offset := range int64(100) {
		r.add(side.Candidate, at(offset), body(side.Live, offset))
	}
	r.advance("messages/3", 99)
	var lacks, blamed int64
	for _, j := range r.emitted {
		if j.Results[side.Live] == nil {
			lacks++
			require.True(t, j.Dropped, "%v", j.Key)
		}
		if !j.Dropped {
			blamed++
			require.NotNil(t, j.Results[side.Candidate], "%v", j.Key)
			require.NotNil(t, j.Results[side.Live], "%v", j.Key)
		}
	}
	require.Positive(t, blamed)
	require.Zero(t, lacks, "the disk is as full for the candidate")
	require.Less(t, r.Stats().Disk, int64(200))
	r.takeEmitted()
	// There is room again: as much as before.
	for offset := int64(100); offset < 200; offset++ {
		r.add(side.Live, at(offset), body(side.Live, offset))
	}
	r.advance("messages/3", 199)
	require.Len(t, r.takeEmitted(), int(blamed))
}

func TestStaleFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "join-7.spill"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))
	j, err := New(Options{Dir: dir, Emit: func(Joined) error { return nil }})
	require.NoError(t, err)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, "other", files[0].Name())
	require.NoError(t, j.Close())
}

func TestDiskErrors(t *testing.T) {
	r := start(t, Options{}).small()
	gone := r.dir
	r.disk.dir = filepath.Join(gone, "none")
	body := strings.Repeat("x", 100)
	r.add(side.Live, at(0), body)
	err := r.Add(side.Live, Result{Key: at(1), Kind: "kind", Body: []byte(body)})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "see that "+r.disk.dir+" is there")
	r.disk.dir = gone
	r.add(side.Live, at(1), body)
	r.add(side.Live, at(2), body)
	r.add(side.Live, at(3), body)
	files := r.files()
	require.NotEmpty(t, files)

	content, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for _, fault := range []struct {
		name  string
		spoil func([]byte) []byte
		want  string
	}{
		{"another body", func(b []byte) []byte { b[headerSize]++; return b }, "bodies that wait to be joined have changed in " + gone},
		{"another side", func(b []byte) []byte { b[4] = 9; return b }, "have changed in"},
		{"another length", func(b []byte) []byte { b[3]++; return b }, "have changed in"},
		{"another position", func(b []byte) []byte { b[5], b[7] = 1, 1; return b }, "have changed in"},
		{"itself again", func(b []byte) []byte { b[5] = 1; return b }, "have changed in"},
		{"cut", func(b []byte) []byte { return b[:50] }, "read bodies that wait to be joined: EOF"},
	} {
		require.NoError(t, os.WriteFile(files[0], fault.spoil(append([]byte(nil), content...)), 0o600))
		err := errors.Join(r.Advance(side.Live, "messages/3", 3), r.Advance(side.Candidate, "messages/3", 3), r.Advance(side.Baseline, "messages/3", 3))
		require.ErrorContains(t, err, "join messages/3@0: ", fault.name)
		require.ErrorContains(t, err, fault.want, fault.name)
	}
	require.NoError(t, os.WriteFile(files[0], content, 0o600))
	r.advance("messages/3", 3)
	require.Len(t, r.takeEmitted(), 4, "nothing was lost")
}
