// Command reach runs in a pod of the end-to-end test: it gets its first argument, which must answer, and its second, which
// must not, and prints what the first said.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	client := &http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(os.Args[1])
	if err != nil {
		fmt.Println("reached nothing:", err)
		os.Exit(1)
	}
	said, err := io.ReadAll(response.Body)
	if err != nil {
		fmt.Println("reached half:", err)
		os.Exit(1)
	}
	fmt.Println(string(said))
	if response, err := client.Get(os.Args[2]); err == nil {
		fmt.Println("reached what it must not:", response.Status)
		os.Exit(1)
	}
}
