package devlab

import (
	"testing"

	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/test/kafka/apache"
)

// useApache gives an Apache Kafka the lab's users with their rights, as the lab's own gets them. It gives its address.
func useApache(t *testing.T, l *lab) string {
	t.Helper()
	var users []apache.User
	for _, u := range l.users.Kafka {
		users = append(users, apache.User{Name: u.Name, Password: u.Password, Rules: kafka.ACLs(u)})
	}
	addr, _ := apache.Use(t, users...)
	return addr
}
