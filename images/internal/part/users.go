package part

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Admin is the user who may do everything.
const Admin = "admin"

// Users reads the passwords of a server's users, by name, from USERS_DIR: a directory such as a mounted Secret. There are none where dir is empty.
func Users(dir string) (passwords map[string]string, err error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read USERS_DIR: %w", err)
	}
	passwords = map[string]string{}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "..") {
			continue // how Kubernetes swaps the files of a Secret
		}
		password, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read the password of user %s: %w", name, err)
		}
		passwords[name] = strings.TrimSpace(string(password))
	}
	if len(passwords) == 0 {
		return nil, errors.New("USERS_DIR has no user; nobody could log in")
	}
	return passwords, nil
}
