package messaging

// CopyOrder gives the collections of the database in the order in which a copy beside running instances reads them:
// the reverse of the order of their writes (see database.store). What instances write meanwhile is then in the copy in
// part, as after a crash: a head without the messages after it, a message without its head, but never a head without
// its messages. A service that starts on the copy, at the commits of before it, goes on as after that crash.
//
// schema is what store.DB.Migrate writes; a later version of the service migrates the copy.
func CopyOrder() []string {
	return []string{
		"schema", "settings",
		"words", "buckets", "heads", "reads",
		"quarantines", "held", "erasures",
		"inboxes", "rosters",
		"messages",
		"sends",
	}
}
