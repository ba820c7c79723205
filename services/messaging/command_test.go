package messaging

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/topics"
)

// A shadow does not read what it writes, so nothing can be put there for it to handle. No broker or database is asked.
func TestShadowPutsNothingBack(t *testing.T) {
	config := func(n topics.Names) Config { return Config{Settings: service.Settings{Kafka: bus.Config{Names: n}}} }
	shadow := config(topics.Names{WritePrefix: "shadow."})
	const want = "messaging would write to the topic shadow.messages, and reads messages"
	_, err := Replay(t.Context(), shadow, true)
	require.ErrorContains(t, err, want)
	_, err = putRelease(t.Context(), shadow, "room")
	require.ErrorContains(t, err, want)
	topic, err := ownTopic(config(topics.Names{ReadPrefix: "b.", WritePrefix: "b."}))
	require.NoError(t, err, "another chat beside")
	require.Equal(t, "b.messages", topic)
}
