package workload

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/topics"
)

// The Secrets that every lab has for its shadows (stacks/*/5-release). Each has a key for every user: the password at
// Kafka, or the connection string of MongoDB.
const (
	KafkaSecret   = "shadow-kafka"   //nolint:gosec // G101: a name
	MongoDBSecret = "shadow-mongodb" //nolint:gosec // G101: a name
)

// setSide makes a container of the live service one of a side of its shadow.
func setSide(c *corev1.Container, service, side string) error {
	name, names := topics.Copy(service, side), topics.NamesOf(service, side)
	if err := logIn(c, name); err != nil {
		return err
	}
	set(c, "SIDE_EFFECTS", "off")
	set(c, "OTEL_SERVICE_NAME", name)
	set(c, "KAFKA_WRITE_PREFIX", names.WritePrefix)
	if service == mirror.Service {
		set(c, "ADDRESS_RATE", "off") // all mirrored clients come from the comparer's address
	}
	if _, ok := topics.Shared(service); ok {
		set(c, "KAFKA_GROUP", names.Group)
	}
	if topics.Follows(service) {
		set(c, "MONGODB_DATABASE", name)
	}
	return nil
}

// logIn has a container log in at Kafka and MongoDB as a user of the shadow, where it logs in at all.
func logIn(c *corev1.Container, user string) error {
	i := index(c, "KAFKA_SASL")
	switch {
	case i < 0 || (c.Env[i].Value == "" && c.Env[i].ValueFrom == nil):
	case c.Env[i].Value == "OAUTHBEARER":
		return errors.New("it logs in at Kafka by tokens (KAFKA_SASL is OAUTHBEARER), and managed databases have no users for shadows; try the shadow in a lab whose databases are in its cluster (databases = \"cluster\" in lab.hcl)")
	default:
		set(c, "KAFKA_USER", user)
		setSecret(c, "KAFKA_PASSWORD", KafkaSecret, user)
		unset(c, "KAFKA_PASSWORD_FILE")
	}
	if index(c, "MONGODB_URI") >= 0 || index(c, "MONGODB_URI_FILE") >= 0 {
		setSecret(c, "MONGODB_URI", MongoDBSecret, user)
		unset(c, "MONGODB_URI_FILE")
	}
	return nil
}

// index says where a container's environment has a variable; -1 is nowhere.
func index(c *corev1.Container, name string) int {
	return slices.IndexFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == name })
}

func set(c *corev1.Container, name, value string) {
	put(c, corev1.EnvVar{Name: name, Value: value})
}

func setSecret(c *corev1.Container, name, secret, key string) {
	put(c, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key,
	}}})
}

// put sets a variable in its place, or at the end.
func put(c *corev1.Container, v corev1.EnvVar) {
	if i := index(c, v.Name); i >= 0 {
		c.Env[i] = v
		return
	}
	c.Env = append(c.Env, v)
}

func unset(c *corev1.Container, name string) {
	c.Env = slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == name })
}
