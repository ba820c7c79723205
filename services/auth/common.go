package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go/data"
)

// commonPasswords are the passwords that people choose most often, as zxcvbn has them: those that are long enough, in lower case.
type commonPasswords map[string]bool

func newCommonPasswords() (commonPasswords, error) {
	b, err := data.Asset("data/Passwords.json")
	if err != nil {
		return nil, fmt.Errorf("read the list of common passwords: %w", err)
	}
	var all struct{ List []string }
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read the list of common passwords: %w", err)
	}
	common := commonPasswords{}
	for _, p := range all.List {
		if utf8.RuneCountInString(p) >= minPassword {
			common[p] = true
		}
	}
	return common, nil
}

// check says what is wrong with a password that somebody chooses. Those that were chosen earlier stay good.
func (c commonPasswords) check(password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	if c[strings.ToLower(password)] {
		return errors.New("password is one of the most common ones; choose another")
	}
	return nil
}
