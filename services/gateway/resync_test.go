package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/service"
)

// Records that the brokers have lost are missed, also where the reader's place is in the range of the log that they have now.
func TestLostRecordsAreMissed(t *testing.T) {
	g := &gateway{Config: Config{Settings: service.Settings{Log: slog.New(slog.DiscardHandler)}}, missed: newMissed()}
	g.checkErrors(kgo.NewErrFetch(errors.New("the broker is away")))
	require.Empty(t, g.missed)
	for range 3 {
		g.checkErrors(kgo.NewErrFetch(fmt.Errorf("partition 0: %w", &kgo.ErrDataLoss{Topic: "users"})))
	}
	require.Len(t, g.missed, 1, "once for all")
}

// A position never goes back: a socket may have been given it already.
func TestPositionOnlyGrows(t *testing.T) {
	var p position
	p.reach(map[int32]int64{0: 8, 1: 0, 2: 3})
	require.Equal(t, "0:7,2:2", p.String())
	p.reach(map[int32]int64{0: 5, 1: 1, 2: 9})
	require.Equal(t, "0:7,1:0,2:8", p.String())
}
