// Package check asks a URL whether what is behind it is ready, in the name of `helm test`: the images hold no other client.
package check

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const answerWithin = 10 * time.Second

// Ask wants an answer of 200 from the URL within 10 s.
func Ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil) //nolint:gosec // G704: the URL is the caller's own argument
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request) //nolint:gosec // G704: the URL is the caller's own argument
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // a help; the status is the answer
		return fmt.Errorf("%s answers %s: %s", url, response.Status, why)
	}
	return nil
}
