package presence

// CopyOrder gives the collections of the database in the order in which a copy beside running instances reads them. A
// user has one document, so any moment's is one that a crash may leave behind.
func CopyOrder() []string { return []string{"schema", "users"} }
