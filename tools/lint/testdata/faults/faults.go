package faults

import (
	"crypto/md5"
	"fmt"
	"os"
)

var sum = md5.New()

func neverCalled() {}

func Fails(s []string) {
	os.Chdir("x")
	os.Remove("x")
	fmt.Printf("%d\n", "x")
	x := 1
	x = 2
	fmt.Println(sum, x)
	if len(s) < 0 {
		return
	}
	_ = os.Getenv("x") //nolint
	_ = os.WriteFile("x", nil, 0o777)
	os.Chdir("y") //nolint:errcheck
	//nolint:gosec // a reason
	_ = os.WriteFile("x", nil, 0o777)
}
