package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const events = `{"Action":"run","Package":"p","Test":"TestQuick"}
{"Action":"output","Package":"p","Test":"TestQuick","Output":"quick says\n"}
{"Action":"pass","Package":"p","Test":"TestQuick","Elapsed":0.5}
{"Action":"pass","Package":"p","Test":"TestSlow/part","Elapsed":7}
{"Action":"pass","Package":"p","Test":"TestSlow","Elapsed":8.25}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t9.1s\n"}
{"Action":"pass","Package":"p","Elapsed":9.1}
{"Action":"output","Package":"q","Test":"TestGood","Output":"good says\n"}
{"Action":"pass","Package":"q","Test":"TestGood","Elapsed":1}
{"Action":"output","Package":"q","Test":"TestBad","Output":"bad says\n"}
{"Action":"fail","Package":"q","Test":"TestBad","Elapsed":2}
{"Action":"output","Package":"q","Output":"FAIL\tq\t2s\n"}
{"Action":"fail","Package":"q","Elapsed":2}
{"ImportPath":"r","Action":"build-output","Output":"r.go:1: does not compile\n"}
a line of the go command
`

func TestOutputOfFailedTestsIsShown(t *testing.T) {
	var out, times strings.Builder
	require.NoError(t, show(false, strings.NewReader(events), &out, &times))
	require.Equal(t, "ok  \tp\t9.1s\nFAIL\tq\t2s\n--- output of q TestBad\nbad says\nr.go:1: does not compile\na line of the go command\n", out.String())
	require.Equal(t, "0.50\tp\tTestQuick\n8.25\tp\tTestSlow\n1.00\tq\tTestGood\n2.00\tq\tTestBad\n", times.String())
}

func TestVerboseShowsAll(t *testing.T) {
	var out, times strings.Builder
	require.NoError(t, show(true, strings.NewReader(events), &out, &times))
	require.Contains(t, out.String(), "quick says")
	require.Equal(t, 1, strings.Count(out.String(), "bad says"))
}

func TestSlowest(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printSlowest("0.50\tp\tTestQuick\n8.25\tp\tTestSlow\n2.00\tq\tTestBad\n", 2, &out))
	require.Equal(t, "    8.3s  p TestSlow\n      2s  q TestBad\n", out.String())
}
