package mongodb

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// Mechanism is how users log in: it never shows the password to the network.
const Mechanism = "SCRAM-SHA-256"

// User is who may log in.
type User struct {
	Name, Password string
	// Admin may do everything; the rights are then of no use.
	Admin bool
	Rights
}

// Rights are what a user may do. Read names databases that the user may only read, Write those that the user may also
// write, and Drop those that the user may remove as a whole.
type Rights struct{ Read, Write, Drop []string }

// URI is the connection string of a user for a server at host:port.
func URI(address, user, password string) string {
	u := url.URL{Scheme: "mongodb", User: url.UserPassword(user, password), Host: address, Path: "/", RawQuery: "authMechanism=" + Mechanism}
	return u.String()
}

// users are those who may log in. nil lets all in, to everything.
type users struct {
	admin  map[string]bool   // by name
	rights map[string]Rights // by name
	scram  *scram.Server
}

// iterations is the least that clients take. Passwords are made by a machine, so nobody finds one by trying.
const iterations = 4096

func newUsers(list []User) (*users, error) {
	if len(list) == 0 {
		return nil, nil
	}
	u := &users{admin: map[string]bool{}, rights: map[string]Rights{}}
	credentials := map[string]scram.StoredCredentials{}
	for _, user := range list {
		if user.Name == "" || user.Password == "" {
			return nil, fmt.Errorf("user %q has no name or no password", user.Name)
		}
		if _, ok := credentials[user.Name]; ok {
			return nil, fmt.Errorf("there is a user %q already", user.Name)
		}
		client, err := scram.SHA256.NewClient(user.Name, user.Password, "")
		if err != nil {
			return nil, fmt.Errorf("the name or the password of user %q has characters that cannot be used: %w", user.Name, err)
		}
		c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: rand.Text(), Iters: iterations})
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", user.Name, err)
		}
		credentials[user.Name], u.admin[user.Name], u.rights[user.Name] = c, user.Admin, user.Rights
	}
	server, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		c, ok := credentials[name]
		if !ok {
			return c, fmt.Errorf("no user %q", name)
		}
		return c, nil
	})
	u.scram = server
	return u, err
}

// session is who a connection is.
type session struct {
	user         string // empty: nobody yet
	conversation *scram.ServerConversation
}

// Error codes of MongoDB (https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
)

// What everybody may ask, at any database: drivers do before and after a log-in.
var open = []string{"hello", "isMaster", "ismaster", "ping"}

// What a user may do with a database that they may read, and what more with one that they may write. None of these
// reaches another one by its arguments, as renameCollection does, and FerretDB has no aggregation that writes ($out,
// $merge).
var (
	reading = []string{"find", "getMore", "killCursors", "aggregate", "count", "distinct", "listCollections", "listIndexes"}
	writing = []string{"insert", "update", "delete", "findAndModify", "findandmodify", "create", "drop", "createIndexes", "dropIndexes"}
)

// allow says whether a command may be given to a database.
func (r Rights) allow(command, database string) bool {
	switch {
	case slices.Contains(reading, command):
		return slices.Contains(r.Read, database) || slices.Contains(r.Write, database)
	case slices.Contains(writing, command):
		return slices.Contains(r.Write, database)
	}
	return command == "dropDatabase" && slices.Contains(r.Drop, database)
}

// errUnreadable ends a connection: who may do what a message asks cannot be said.
var errUnreadable = errors.New("a message that cannot be read before a log-in")

// admit gives the answer to a message that belongs to a log-in or is not allowed. It is nil for one that may pass.
func (u *users) admit(s *session, cmd command, isCommand bool, msg []byte) (answer []byte, err error) {
	switch {
	case !isCommand && isHandshake(msg):
		return nil, nil
	case !isCommand:
		return nil, errUnreadable
	case cmd.name == "saslStart", cmd.name == "saslContinue":
		return u.logIn(s, cmd)
	case slices.Contains(open, cmd.name):
		return nil, nil
	case s.user == "":
		return refusal(cmd, codeUnauthorized, "Unauthorized", fmt.Sprintf("%s needs a log-in", cmd.name))
	case u.admin[s.user], cmd.name == "endSessions":
		return nil, nil
	case databases(cmd.body) != 1, !u.rights[s.user].allow(cmd.name, cmd.database):
		return refusal(cmd, codeUnauthorized, "Unauthorized", fmt.Sprintf("%s may not %s in %s", s.user, cmd.name, cmd.database))
	}
	return nil, nil
}

// databases says how often a command names its database. Of two, FerretDB could take the other one.
func databases(body bson.Raw) (n int) {
	elements, err := body.Elements()
	if err != nil {
		return 0
	}
	for _, e := range elements {
		if e.Key() == "$db" {
			n++
		}
	}
	return n
}

// logIn takes one step of a conversation of SCRAM
// (https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#scram-sha-256).
func (u *users) logIn(s *session, cmd command) ([]byte, error) {
	failed := func() ([]byte, error) {
		s.conversation = nil
		return refusal(cmd, codeAuthenticationFailed, "AuthenticationFailed", "Authentication failed. Users log in with authMechanism="+Mechanism+".")
	}
	var step struct {
		Mechanism string `bson:"mechanism"`
		Payload   []byte `bson:"payload"`
	}
	if bson.Unmarshal(cmd.body, &step) != nil {
		return failed()
	}
	if cmd.name == "saslStart" {
		if step.Mechanism != Mechanism {
			return failed()
		}
		s.user, s.conversation = "", u.scram.NewConversation()
	}
	said := ""
	switch {
	case s.conversation == nil:
		return failed()
	case s.conversation.Valid():
		// An empty step, by which a client hears that it is done.
	default:
		var err error
		if said, err = s.conversation.Step(string(step.Payload)); err != nil {
			return failed()
		}
	}
	if s.conversation.Valid() {
		s.user = s.conversation.Username()
	}
	return reply(cmd, bson.D{
		{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: s.user != ""}, {Key: "payload", Value: []byte(said)}, {Key: "ok", Value: float64(1)},
	})
}

func refusal(cmd command, code int32, name, text string) ([]byte, error) {
	return reply(cmd, bson.D{{Key: "ok", Value: float64(0)}, {Key: "errmsg", Value: text}, {Key: "code", Value: code}, {Key: "codeName", Value: name}})
}

func reply(cmd command, doc bson.D) ([]byte, error) {
	body, err := bson.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", cmd.name, err)
	}
	return message(0, cmd.requestID, body), nil
}

// isHandshake says whether a message is the first of a driver in the form of old, which may ask what the server is and no more.
func isHandshake(msg []byte) bool {
	const opQuery = 2004
	if len(msg) < headerSize+4 || binary.LittleEndian.Uint32(msg[12:]) != opQuery {
		return false
	}
	_, rest, ok := bytes.Cut(msg[headerSize+4:], []byte{0}) // after the flags, the name of a collection
	if !ok || len(rest) < 8 {
		return false
	}
	first, err := bson.Raw(rest[8:]).IndexErr(0) // after two numbers
	return err == nil && slices.Contains(open, first.Key())
}
