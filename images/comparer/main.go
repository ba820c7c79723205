// The comparer image: what compares the sides of a shadow in a cluster (docs/adr/0026-shadows.md).
//
//	SERVICE     the service whose shadow it is, such as messaging
//	ABOUT       what is tried and by which measure, as JSON (shadow.About)
//	TOKEN       what whoever asks for the evidence has to show
//	ENDING      1: the sides have ended, and POST /clean is to remove what they have left; nothing is compared
//	DATA_DIR    for what does not fit into memory (/data)
//	LISTEN      address to bind (:8080)
//	CANDIDATE_URL, BASELINE_URL
//	            where the sides are asked what the live service was; their metrics are at the port HEALTH_PORT (8081)
//
// It takes copies of requests from the ingress or, of a gateway's shadow, mirrored sockets from the gateway. It reaches
// Kafka and MongoDB by the variables that services have (docs/configuration.md). Where the copies of the service read the
// live database it has nothing to do with either.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labctl/labctl/images/internal/part"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/connect"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/topics"
)

func main() { os.Exit(part.Main("comparer", os.Args[1:], start)) }

func start(getenv func(string) string, log *slog.Logger) (part.Server, error) {
	service := getenv("SERVICE")
	if err := shadow.Check(service); err != nil {
		return part.Server{}, fmt.Errorf("SERVICE: %w", err)
	}
	token := getenv("TOKEN")
	if token == "" {
		return part.Server{}, errors.New("TOKEN is not set, so everybody could read what people said")
	}
	var about shadow.About
	if err := json.Unmarshal([]byte(getenv("ABOUT")), &about); err != nil {
		return part.Server{}, fmt.Errorf("ABOUT is no JSON as expected: %w", err)
	}
	comparer, err := shadow.New(shadow.Options{Service: service, About: about, Dir: filepath.Join(cmp.Or(getenv("DATA_DIR"), "/data"), "open"), Now: time.Now})
	if err != nil {
		return part.Server{}, err
	}
	trial, err := trialFrom(getenv, comparer)
	if err != nil {
		return part.Server{}, err
	}
	ctx, stop := context.WithCancel(context.Background())
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(getenv("LISTEN"), ":8080"))
	if err != nil {
		stop()
		return part.Server{}, err
	}
	var begun atomic.Bool
	var copied atomic.Int64
	trial.Begun = func(context.Context) {
		begun.Store(true)
		log.Info("compares from now on")
	}
	trial.Copied = func(documents int) { copied.Store(int64(documents)) }
	var work, serving sync.WaitGroup
	if getenv("ENDING") == "1" {
		begun.Store(true)
	} else {
		work.Go(func() {
			if err := comparer.Run(ctx, trial); err != nil {
				log.Error("compares no more", "error", err)
			}
		})
	}
	mux := http.NewServeMux()
	mux.Handle("/", comparer.Handler(token))
	// Neither the ingress nor the live gateway has the token. Network policies let in who may ask the live service.
	if trial.Sockets != nil {
		mux.Handle("GET "+mirror.Path, trial.Sockets.Handler())
	} else {
		mux.Handle("POST "+exchange.Path, trial.Requests.Handler())
	}
	mux.Handle("POST /clean", shadow.Authorized(token, func(w http.ResponseWriter, r *http.Request) {
		stop()
		work.Wait()
		if err := trial.Clean(r.Context(), service); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	serving.Go(func() { _ = srv.Serve(ln) }) // ends by Close only
	return part.Server{
		Addr: ln.Addr().String(),
		Ready: func(context.Context) error {
			if !begun.Load() {
				return fmt.Errorf("copying the database of %s: %d documents", service, copied.Load())
			}
			return nil
		},
		Close: func() error {
			stop()
			err := srv.Close()
			serving.Wait()
			work.Wait()
			if trial.DB != nil {
				err = errors.Join(err, trial.DB.Disconnect(context.Background()))
			}
			return errors.Join(err, comparer.Close())
		},
	}, nil
}

// trialFrom reads how the databases and the sides are reached.
func trialFrom(getenv func(string) string, comparer *shadow.Comparer) (t shadow.Trial, err error) {
	service := comparer.Service()
	user := topics.Comparer(service)
	if !topics.ReadsLive(service) {
		if t.Kafka, err = connect.Kafka(user, getenv); err != nil {
			return t, err
		}
	}
	if topics.Follows(service) {
		if t.DB, err = connect.MongoDB(user, getenv); err != nil {
			return t, err
		}
	}
	t.Processes = map[side.Side]string{}
	urls := map[side.Side]string{}
	for s, variable := range map[side.Side]string{side.Candidate: "CANDIDATE_URL", side.Baseline: "BASELINE_URL"} {
		u, err := url.Parse(getenv(variable))
		if err != nil || u.Hostname() == "" {
			return t, fmt.Errorf("%s is %q, which is no address of a side", variable, getenv(variable))
		}
		urls[s] = u.String()
		t.Processes[s] = "http://" + net.JoinHostPort(u.Hostname(), cmp.Or(getenv("HEALTH_PORT"), "8081"))
	}
	err = t.Reach(comparer, urls)
	return t, err
}
