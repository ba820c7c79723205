package service

import (
	"errors"
	"fmt"

	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/topics"
)

// A shadow is an instance that is tried with the traffic of the live ones, which must not notice it: SIDE_EFFECTS=off. It does nothing outside of
// its own topics and its own database. This is all that a service does to the world, and what becomes of it in a shadow:
//
//	all        makes topics, changes their configs, writes records    under KAFKA_WRITE_PREFIX, which must be set
//	all        writes documents                                       in MONGODB_DATABASE, which must be another than the live one
//	auth       migrates and writes, makes topics, sweeps              off: it reads the live database, as a user who may only read
//	groups     migrates and writes, makes topics, sweeps              off, as with auth
//	all        asks auth for its keys                                 the same: it changes nothing
//	all        logs, counts, sends spans                              the same: that is about the shadow. OTEL_SERVICE_NAME tells it apart
//	auth       takes part in log-ins at a provider (OIDC)             off: there is no provider
//	gateway    has messaging tell who writes                          off
//	gateway    mirrors sockets to the comparer of its shadow          off
//	gateway    asks auth for users, messaging for what was missed     the same: it changes nothing
//	groups     asks auth for users                                    the same: it changes nothing
//	groups     asks auth for deleted accounts, and confirms           off, as with messaging and presence
//	messaging  is a member of a consumer group, commits               in KAFKA_GROUP, which must be another than the live one
//	messaging  replays dead letters, releases from quarantine         refused: it does not read what it writes
//	presence   is a member of a consumer group, commits               in KAFKA_GROUP, which must be another than the live one
//	presence   asks messaging and groups who may see a user           the same: it changes nothing

// shadowVariable is what shadowFromEnv reads.
func shadowVariable() env.Variable {
	return env.Variable{Name: "SIDE_EFFECTS", Default: "on", Form: "`on` or `off`",
		Meaning: "With `off` the service is a shadow: it does nothing outside of its own topics and its own database, so it can read live topics. It needs a `KAFKA_WRITE_PREFIX` then, and a `MONGODB_DATABASE` and a `KAFKA_GROUP` that are not the defaults. Those of auth and groups read the live database."}
}

// shadowFromEnv reads whether a service is a shadow, and says what it has in common with the live one that it must not have.
func shadowFromEnv(name string, getenv func(string) string, s Settings) (shadow bool, err error) {
	switch v := getenv("SIDE_EFFECTS"); v {
	case "", "on":
		return false, nil
	case "off":
	default:
		return false, fmt.Errorf("SIDE_EFFECTS is %q, which is none of on, off", v)
	}
	var errs []error
	if s.Kafka.WritePrefix == "" {
		errs = append(errs, errors.New("SIDE_EFFECTS is off and KAFKA_WRITE_PREFIX is not set, so the service would write to live topics; set it, such as to \"shadow.\""))
	}
	if s.Database == name && !topics.ReadsLive(name) {
		errs = append(errs, fmt.Errorf("SIDE_EFFECTS is off and MONGODB_DATABASE is %s, which is the live one; set another, such as %[1]s-shadow", name))
	}
	if shared, ok := topics.Shared(name); ok && s.Kafka.Group == shared.Group {
		errs = append(errs, fmt.Errorf("SIDE_EFFECTS is off and KAFKA_GROUP is %s, which is the live one; set another, such as %[1]s-shadow", shared.Group))
	}
	return true, errors.Join(errs...)
}
