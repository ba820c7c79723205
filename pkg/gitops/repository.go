// Package gitops keeps in Git what Argo CD makes of a cluster. It is the only importer of go-git.
package gitops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Remote is a branch of a repository on a Git server.
type Remote struct {
	URL      string
	Branch   string
	User     string // for https; "" where the server asks nobody
	Password string
	SSHKey   []byte // private, PEM; without it, SSH's agent has the key. The server's is looked for in known_hosts.
}

func (r Remote) auth() (transport.AuthMethod, error) {
	switch {
	case r.SSHKey != nil:
		endpoint, err := transport.NewEndpoint(r.URL)
		if err != nil {
			return nil, err
		}
		keys, err := ssh.NewPublicKeys(cmp.Or(endpoint.User, "git"), r.SSHKey, "")
		if err != nil {
			return nil, fmt.Errorf("key for %s: %w", r.URL, err)
		}
		return keys, nil
	case r.User == "":
		return nil, nil //nolint:nilnil // what go-git takes for nobody
	}
	return &http.BasicAuth{Username: r.User, Password: r.Password}, nil
}

func (r Remote) branch() plumbing.ReferenceName { return plumbing.NewBranchReferenceName(r.Branch) }

// Repository is a copy of a branch in memory, with its history.
type Repository struct {
	remote Remote
	repo   *git.Repository
	head   *object.Commit // nil: the repository is empty
}

// Open copies a branch. A repository without any commit is well.
func Open(ctx context.Context, remote Remote) (*Repository, error) {
	auth, err := remote.auth()
	if err != nil {
		return nil, err
	}
	storage, files := memory.NewStorage(), memfs.New()
	repo, err := git.CloneContext(ctx, storage, files, &git.CloneOptions{
		URL: remote.URL, Auth: auth, ReferenceName: remote.branch(), SingleBranch: true, Tags: git.NoTags, NoCheckout: true,
	})
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return empty(remote)
	}
	if err != nil {
		return nil, fmt.Errorf("read branch %s of %s: %w", remote.Branch, remote.URL, err)
	}
	r := &Repository{remote: remote, repo: repo}
	ref, err := repo.Head()
	if err == nil {
		r.head, err = repo.CommitObject(ref.Hash())
	}
	if err != nil {
		return nil, fmt.Errorf("read branch %s of %s: %w", remote.Branch, remote.URL, err)
	}
	return r, nil
}

func empty(remote Remote) (*Repository, error) {
	repo, err := git.InitWithOptions(memory.NewStorage(), memfs.New(), git.InitOptions{DefaultBranch: remote.branch()})
	if err == nil {
		_, err = repo.CreateRemote(&config.RemoteConfig{Name: git.DefaultRemoteName, URLs: []string{remote.URL}})
	}
	if err != nil {
		return nil, fmt.Errorf("begin branch %s of %s: %w", remote.Branch, remote.URL, err)
	}
	return &Repository{remote: remote, repo: repo}, nil
}

// Head is the branch's last commit; "" where there is none.
func (r *Repository) Head() string {
	if r.head == nil {
		return ""
	}
	return r.head.Hash.String()
}

// Files are those of a commit: path from the repository's root → content.
type Files map[string][]byte

// Files gives the files of the last commit below dir.
func (r *Repository) Files(dir string) (Files, error) {
	if r.head == nil {
		return Files{}, nil
	}
	return filesOf(r.head, dir)
}

// File gives one file of the last commit; ok is false where there is none.
func (r *Repository) File(name string) (content []byte, ok bool, err error) {
	if r.head == nil {
		return nil, false, nil
	}
	f, err := r.head.File(name)
	if errors.Is(err, object.ErrFileNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s of commit %s: %w", name, r.head.Hash, err)
	}
	text, err := f.Contents()
	return []byte(text), true, err
}

// FilesAt gives the files below dir as they were at a revision: a commit, or a part of its hash, that the branch has.
func (r *Repository) FilesAt(revision, dir string) (Commit, Files, error) {
	hash, err := r.repo.ResolveRevision(plumbing.Revision(revision))
	if err != nil {
		return Commit{}, nil, fmt.Errorf("branch %s of %s has no revision %q: %w", r.remote.Branch, r.remote.URL, revision, err)
	}
	c, err := r.repo.CommitObject(*hash)
	if err != nil {
		return Commit{}, nil, fmt.Errorf("read revision %q: %w", revision, err)
	}
	files, err := filesOf(c, dir)
	return commitOf(c), files, err
}

func filesOf(c *object.Commit, dir string) (Files, error) {
	tree, err := c.Tree()
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", c.Hash, err)
	}
	if dir != "" {
		tree, err = tree.Tree(dir)
	}
	if errors.Is(err, object.ErrDirectoryNotFound) {
		return Files{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of commit %s: %w", dir, c.Hash, err)
	}
	files := Files{}
	err = tree.Files().ForEach(func(f *object.File) error {
		text, err := f.Contents()
		files[path.Join(dir, f.Name)] = []byte(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s of commit %s: %w", dir, c.Hash, err)
	}
	return files, nil
}

// Commit is one change.
type Commit struct {
	Hash    string    `json:"commit"`
	Author  string    `json:"author"`
	At      time.Time `json:"at"`
	Message string    `json:"message"` // without a newline at its end
}

// Subject is the message's first line.
func (c Commit) Subject() string {
	subject, _, _ := strings.Cut(c.Message, "\n")
	return subject
}

// Short is what people call it.
func (c Commit) Short() string { return Short(c.Hash) }

// Short gives the first digits of a commit's hash.
func Short(hash string) string { return hash[:min(len(hash), 8)] }

func commitOf(c *object.Commit) Commit {
	return Commit{Hash: c.Hash.String(), Author: c.Author.Name, At: c.Author.When, Message: strings.TrimSpace(c.Message)}
}

// Log gives the commits that changed something below dir, the newest first, at most limit.
func (r *Repository) Log(dir string, limit int) ([]Commit, error) {
	if r.head == nil {
		return nil, nil
	}
	below := strings.TrimSuffix(dir, "/") + "/"
	all, err := r.repo.Log(&git.LogOptions{From: r.head.Hash, PathFilter: func(p string) bool { return strings.HasPrefix(p, below) }})
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", dir, err)
	}
	defer all.Close()
	var out []Commit
	for len(out) < limit {
		c, err := all.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the history of %s: %w", dir, err)
		}
		out = append(out, commitOf(c))
	}
	return out, nil
}

// Author is who makes a commit.
type Author struct{ Name, Email string }

// tries is how often a change is made anew because somebody else pushed in between.
const tries = 5

// Update changes a branch by one commit. Edit says what to change in a copy of it: path → content, nil to delete a file, and why. It is
// called again on a newer copy where somebody else pushed in between, and an edit that changes nothing makes no commit. What Update
// gives is the branch as it is then.
func Update(ctx context.Context, remote Remote, author Author, edit func(r *Repository) (change Files, message string, err error)) (r *Repository, changed bool, err error) {
	auth, err := remote.auth()
	if err != nil {
		return nil, false, err
	}
	var refused error
	for range tries {
		r, err = Open(ctx, remote)
		if err != nil {
			return nil, false, err
		}
		change, message, err := edit(r)
		if err != nil {
			return nil, false, err
		}
		before := r.Head()
		changed, err = r.commit(change, message, author)
		if err != nil || !changed {
			return r, false, err
		}
		name := remote.branch()
		refused = r.repo.PushContext(ctx, &git.PushOptions{Auth: auth, RefSpecs: []config.RefSpec{config.RefSpec(name + ":" + name)}})
		if refused == nil {
			return r, true, nil
		}
		refused = fmt.Errorf("push branch %s to %s: %w", remote.Branch, remote.URL, refused)
		now, err := Open(ctx, remote)
		if err != nil || now.Head() == before {
			return nil, false, refused // nobody else pushed, so it is no use to try again
		}
	}
	return nil, false, fmt.Errorf("%w (tried %d times, each time somebody else had pushed)", refused, tries)
}

// commit adds a commit to the copy.
func (r *Repository) commit(change Files, message string, author Author) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("commit to branch %s of %s: %w", r.remote.Branch, r.remote.URL, err)
		}
	}()
	have, err := r.Files("")
	if err != nil {
		return false, err
	}
	change = difference(have, change)
	if len(change) == 0 {
		return false, nil
	}
	tree, err := r.repo.Worktree()
	if err != nil {
		return false, err
	}
	if r.head != nil {
		if err := tree.Reset(&git.ResetOptions{Mode: git.HardReset, Commit: r.head.Hash}); err != nil {
			return false, err
		}
	}
	for name, content := range change {
		if content == nil {
			_, err = tree.Remove(name)
		} else if err = write(tree, name, content); err == nil {
			_, err = tree.Add(name)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
	}
	who := &object.Signature{Name: author.Name, Email: author.Email, When: time.Now()}
	hash, err := tree.Commit(message, &git.CommitOptions{Author: who, Committer: who})
	if err != nil {
		return false, err
	}
	r.head, err = r.repo.CommitObject(hash)
	return true, err
}

func write(tree *git.Worktree, name string, content []byte) error {
	f, err := tree.Filesystem.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// difference leaves of change what is not so already.
func difference(have, change Files) Files {
	out := Files{}
	for name, content := range change {
		now, there := have[name]
		if content == nil && there || content != nil && (!there || !slices.Equal(now, content)) {
			out[name] = content
		}
	}
	return out
}
