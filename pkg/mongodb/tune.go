package mongodb

import (
	"os"
	"runtime/debug"
)

// Tune sets up a process that is the database's alone. FerretDB makes much garbage on a small heap, and collecting it at each doubling of that heap
// takes a tenth of the database's time. Now it may become five times what is in use, which is tens of MiB. GOGC, where it is set, stands.
func Tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
