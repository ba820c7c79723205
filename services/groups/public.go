package groups

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// Public groups are found by the beginnings of the words in their titles. The look-up is one point read of the longest beginning that
// is kept; of a crowded one the first groups are kept, and the others are found by typing on.
const (
	maxWords     = 8 // of a title
	maxBeginning = 6 // characters
	maxCrowd     = 200
	anyWord      = "*" // the beginning of all; no letter, so no word has it
)

// words gives what is searched for in a title, in lower case.
func words(title string) []string {
	l := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	return l[:min(len(l), maxWords)]
}

// beginnings gives the names documents that hold a title.
func beginnings(title string) []string {
	l := []string{anyWord}
	for _, w := range words(title) {
		r := []rune(w)
		for n := 1; n <= min(len(r), maxBeginning); n++ {
			l = append(l, string(r[:n]))
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

// copyTitle brings up to date where a group is found that has or had those titles.
func (s *groups) copyTitle(ctx context.Context, id string, titles ...string) error {
	var all []string
	for _, t := range titles {
		all = append(all, beginnings(t)...)
	}
	slices.Sort(all)
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(8)
	for _, b := range slices.Compact(all) {
		eg.Go(func() error {
			return renew(ctx, s.public(), b, func(n names) (bson.D, error) {
				g, _, err := store.Get[group](ctx, s.groups(), id)
				if err != nil {
					return nil, err
				}
				title, there := n.Groups[id]
				is := g.Public && !g.gone() && slices.Contains(beginnings(g.Title), b)
				switch {
				case is == there && (!is || title == g.Title), is && !there && len(n.Groups) >= maxCrowd:
					return nil, nil
				case is:
					return put("groups."+id, g.Title), nil
				}
				return drop("groups." + id), nil
			})
		})
	}
	return eg.Wait()
}

// search gives public groups by what their titles' words begin with.
func (s *groups) search(w http.ResponseWriter, r *http.Request, _ token.Claims) error {
	q := r.URL.Query().Get("q")
	if q != "" {
		var err error
		if q, err = wire.CleanTitle(q); err != nil {
			return service.BadRequest("q must be the beginning of words, at most %d characters", wire.MaxTitleRunes)
		}
	}
	asked := words(q)
	key, longest := anyWord, 0
	for _, word := range asked {
		if n := len([]rune(word)); n > longest {
			longest = n
			key = string([]rune(word)[:min(n, maxBeginning)])
		}
	}
	n, _, err := store.Get[names](r.Context(), s.public(), key)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	matching := []string{}
	for id, title := range n.Groups {
		if hasAll(title, asked) {
			matching = append(matching, id)
		}
	}
	slices.SortFunc(matching, func(a, b string) int {
		if c := strings.Compare(strings.ToLower(n.Groups[a]), strings.ToLower(n.Groups[b])); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	all, err := s.read(r.Context(), matching[:min(len(matching), wire.MaxPublic)])
	if err != nil {
		return err
	}
	found := []wire.PublicGroup{}
	for _, g := range all {
		if g.Public && !g.gone() {
			found = append(found, wire.PublicGroup{ID: g.ID, Title: g.Title, Size: len(g.Members)})
		}
	}
	return service.Write(w, http.StatusOK, map[string][]wire.PublicGroup{"groups": found})
}

func hasAll(title string, asked []string) bool {
	has := words(title)
	return !slices.ContainsFunc(asked, func(a string) bool {
		return !slices.ContainsFunc(has, func(h string) bool { return strings.HasPrefix(h, a) })
	})
}

// join makes the caller a member of a public group.
func (s *groups) join(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	if err := s.notTooOften(caller.User); err != nil {
		return err
	}
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		switch {
		case g.role(caller.User) != "":
			return nil, nil
		case !g.Public:
			return nil, service.NotFound("group")
		case slices.Contains(g.Barred, caller.User):
			return nil, service.Forbidden("you were removed from this group; only its owner and admins can bring you back")
		}
		e, err := g.enter(caller.User)
		return []event{e}, err
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}
