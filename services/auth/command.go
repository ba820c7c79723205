package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/token"
)

// Commands are what the program does for whoever runs auth, with auth's own configuration. They work on the database alone;
// running instances notice within seconds.
func Commands() []service.Command[Config] {
	return []service.Command[Config]{
		{Name: "rotate-keys", Run: func(ctx context.Context, c Config, args []string) (string, error) {
			drop := len(args) == 1 && args[0] == "-drop-old"
			if len(args) > 0 && !drop {
				return "", errors.New("usage: auth rotate-keys [-drop-old]")
			}
			current, next, err := RotateKeys(ctx, c, drop)
			return fmt.Sprintf("current %s\nnext    %s", current, next), err
		}},
		{Name: "set-role", Run: func(ctx context.Context, c Config, args []string) (string, error) {
			if len(args) != 2 {
				return "", errors.New("usage: auth set-role NAME user|moderator|admin")
			}
			if err := SetRole(ctx, c, args[0], args[1]); err != nil {
				return "", err
			}
			return fmt.Sprintf("%s is %s now, and has to log in again", args[0], args[1]), nil
		}},
	}
}

// commandTime is how long a command may take.
const commandTime = 30 * time.Second

// RotateKeys lets the next signing key take over. With drop the keys before it go at once, and all access tokens with them; without, when
// their tokens have expired.
func RotateKeys(ctx context.Context, c Config, drop bool) (current, next string, err error) {
	err = command(ctx, c, func(ctx context.Context, a *auth) error {
		r, err := a.keys.rotate(ctx, drop)
		if err == nil {
			current, next = r.current().Kid, r.next().Kid
		}
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("rotate the signing keys: %w", err)
	}
	return current, next, nil
}

// ErrNoUser is a name that nobody has.
var ErrNoUser = errors.New("there is no such user")

// SetRole gives a user a role. If it is another one, the user's sessions end.
func SetRole(ctx context.Context, c Config, name, role string) error {
	if token.Rank(role) == 0 {
		return fmt.Errorf("set the role of %s: %q is none of user, moderator, admin", name, role)
	}
	err := command(ctx, c, func(ctx context.Context, a *auth) error {
		for range 5 {
			n, ok, err := a.named(ctx, strings.ToLower(name))
			switch {
			case err != nil:
				return err
			case !ok:
				return ErrNoUser
			case n.Role == role:
				return nil
			}
			_, matched, err := a.renew(ctx, n, bson.D{{Key: "role", Value: role}}, "")
			if matched {
				a.audit(ctx).Info(eventRoleChanged, n.who(), "role", role)
			}
			if err != nil || matched {
				return err
			}
		}
		return errors.New("the user keeps being changed by others")
	})
	if err != nil {
		return fmt.Errorf("set the role of %s: %w", name, err)
	}
	return nil
}

func command(ctx context.Context, c Config, f func(ctx context.Context, a *auth) error) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	a, err := open(c, service.NewMetrics())
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.db.Migrate(ctx, migrations()); err != nil {
		return err
	}
	return f(ctx, a)
}
