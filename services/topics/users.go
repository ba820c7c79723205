package topics

import "slices"

// A shadow of a service has two copies of it beside the live one (docs/adr/0026-shadows.md). These are their sides: the
// candidate is the new version, the baseline is the live one once more.
const (
	Candidate = "shadow"
	Baseline  = "baseline"
)

// Sides gives the sides of a shadow.
func Sides() []string { return []string{Candidate, Baseline} }

// Shadowed gives the services that can have a shadow.
func Shadowed() []string { return []string{"auth", "gateway", "groups", "messaging", "presence"} }

// Follows says that a service's database follows from a topic, so that the copies of the service have copies of it.
func Follows(service string) bool {
	_, follows := Shared(service)
	return slices.Contains(Stores(), service) && follows
}

// ReadsLive says that the copies of a service read the live database and write nothing. Its state follows from requests,
// and from no topic by which a copy of it could be kept up to date.
func ReadsLive(service string) bool { return slices.Contains(Stores(), service) && !Follows(service) }

// Stores gives the services that have a database. It bears the service's name.
func Stores() []string { return []string{"auth", "groups", "messaging", "presence"} }

// Copy gives the name of a side of a service's shadow. Its user, its consumer group and its database bear this name.
func Copy(service, side string) string { return service + "-" + side }

// NamesOf gives the names of a side of a service's shadow. Several services can have one at once and write the same
// topics, so the prefix names the service.
func NamesOf(service, side string) Names {
	return Names{WritePrefix: side + "." + service + ".", Group: Copy(service, side)}
}

// Comparer gives the user who starts a service's shadow, compares its sides and clears them away.
func Comparer(service string) string { return service + "-comparer" }

// Databases are what a user may do in MongoDB. Read names databases that the user may only read, Write those that the
// user may also write, and Drop those that the user may remove as a whole.
type Databases struct{ Read, Write, Drop []string }

// Empty says that the user has no business there.
func (d Databases) Empty() bool { return len(d.Read)+len(d.Write)+len(d.Drop) == 0 }

// User is one who may log in at Kafka and, with any Databases, at MongoDB.
type User struct {
	Name    string
	Kafka   Rights
	MongoDB Databases
}

// AllUsers gives all users but the administrator: the services, and for each that can have a shadow the two sides and
// the comparer. Where the copies read the live database, the comparer compares requests alone, and needs no user.
func AllUsers() (users []User) {
	for _, service := range Services() {
		users = append(users, User{Name: service, Kafka: RightsOf(service, Names{}), MongoDB: own(service, service)})
	}
	for _, service := range Shadowed() {
		for _, side := range Sides() {
			users = append(users, sideOf(service, side))
		}
		if !ReadsLive(service) {
			users = append(users, comparer(service))
		}
	}
	return users
}

// UserOf gives the user of that name. ok is false where there is none.
func UserOf(name string) (u User, ok bool) {
	users := AllUsers()
	i := slices.IndexFunc(users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return User{}, false
	}
	return users[i], true
}

// sideOf gives the user of a side.
func sideOf(service, side string) User {
	name := Copy(service, side)
	if ReadsLive(service) {
		return User{Name: name, Kafka: Rights{Read: RightsOf(service, Names{}).Read}, MongoDB: Databases{Read: own(service, service).Write}}
	}
	return User{Name: name, Kafka: RightsOf(service, NamesOf(service, side)), MongoDB: own(service, name)}
}

// own lets a service, or a copy of it, write the database of that name.
func own(service, database string) (d Databases) {
	if slices.Contains(Stores(), service) {
		d.Write = []string{database}
	}
	return d
}

// comparer reads what the three sides write, and writes nothing live. It sets the groups of the copies to the commits
// of the live one, for which Kafka wants the right to read the topic, and copies the live database. It saves the evidence
// in a database of its own. At the end it removes that, and what the copies have made.
func comparer(service string) User {
	u := User{Name: Comparer(service)}
	live := RightsOf(service, Names{})
	u.Kafka.Read, u.Kafka.SeeGroups = slices.Clone(live.Write), live.Groups
	if t, ok := Shared(service); ok && !slices.Contains(u.Kafka.Read, t.Name) {
		u.Kafka.Read = append(u.Kafka.Read, t.Name)
	}
	u.MongoDB.Read = own(service, service).Write
	for _, side := range Sides() {
		c := RightsOf(service, NamesOf(service, side))
		u.Kafka.Read = append(u.Kafka.Read, c.Write...)
		u.Kafka.Remove = append(u.Kafka.Remove, c.Make...)
		u.Kafka.Groups = append(u.Kafka.Groups, c.Groups...)
		u.Kafka.RemoveGroups = append(u.Kafka.RemoveGroups, c.Groups...)
		u.MongoDB.Write = append(u.MongoDB.Write, own(service, Copy(service, side)).Write...)
	}
	u.MongoDB.Write = append(u.MongoDB.Write, own(service, u.Name).Write...)
	u.MongoDB.Drop = u.MongoDB.Write
	return u
}
