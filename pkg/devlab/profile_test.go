package devlab

import (
	"bytes"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
)

// draw makes a picture whose left half is red and whose right half is blue.
func draw(w, h int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{R: 255, A: 255}
			if x >= w/2 {
				c = color.NRGBA{B: 255, A: 255}
			}
			m.Set(x, y, c)
		}
	}
	return m
}

// drawing is one as a PNG.
func drawing(t *testing.T, w, h int) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, draw(w, h)))
	return b.String()
}

func TestProfiles(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("Alice"), w.user("bob")

	first, err := bob.Profile(ctx, alice.User.ID)
	require.NoError(t, err)
	require.Equal(t, alice.User, first.User)
	require.Equal(t, "Alice", first.DisplayName)
	require.NotEmpty(t, first.Colour)
	require.Zero(t, first.Version)
	again, err := alice.Profile(ctx, alice.User.ID)
	require.NoError(t, err)
	require.Equal(t, first, again, "the colour of one who has chosen none stays")

	script := `<script>alert(1)</script>`
	p, err := alice.ChangeProfile(ctx, client.ProfileChange{DisplayName: " Alice A. ", Colour: "#AaBbCc", Bio: script + "\nline", Status: "là"})
	require.NoError(t, err)
	require.Equal(t, client.Profile{User: alice.User, DisplayName: "Alice A.", Colour: "#aabbcc", Bio: script + "\nline", Status: "là", Version: 1}, p)
	seen, err := bob.Profile(ctx, alice.User.ID)
	require.NoError(t, err)
	require.Equal(t, p, seen)
	p, err = alice.ChangeProfile(ctx, client.ProfileChange{DisplayName: "Al", Colour: "teal"})
	require.NoError(t, err)
	require.Equal(t, client.Profile{User: alice.User, DisplayName: "Al", Colour: "teal", Version: 2}, p, "all is replaced")

	for name, bad := range map[string]client.ProfileChange{
		"no name":              {Colour: "teal"},
		"a blank name":         {DisplayName: " \u00a0", Colour: "teal"},
		"a long name":          {DisplayName: strings.Repeat("é", 65), Colour: "teal"},
		"a name of two lines":  {DisplayName: "a\nb", Colour: "teal"},
		"a control character":  {DisplayName: "a\x1b[2J", Colour: "teal"},
		"a name turned around": {DisplayName: "admin\u202enimda", Colour: "teal"},
		"nothing to be seen":   {DisplayName: "\u3164", Colour: "teal"},
		"a bio turned around":  {DisplayName: "a", Colour: "teal", Bio: "x\n\u202ey"},
		"a status of nothing":  {DisplayName: "a", Colour: "teal", Status: "\u200b"},
		"no colour":            {DisplayName: "a"},
		"a colour that is CSS": {DisplayName: "a", Colour: "red;background:url(//x)"},
		"a short colour":       {DisplayName: "a", Colour: "#abc"},
		"a colour of no hex":   {DisplayName: "a", Colour: "#abcdeg"},
		"a long bio":           {DisplayName: "a", Colour: "teal", Bio: strings.Repeat("é", 281)},
		"a long status":        {DisplayName: "a", Colour: "teal", Status: strings.Repeat("é", 81)},
		"a status of lines":    {DisplayName: "a", Colour: "teal", Status: "a\nb"},
	} {
		_, err := alice.ChangeProfile(ctx, bad)
		require.True(t, client.IsCode(err, "bad_request"), "%s: %v", name, err)
	}
	longest := client.ProfileChange{DisplayName: strings.Repeat("é", 64), Colour: "slate", Bio: strings.Repeat("é", 280), Status: strings.Repeat("é", 80)}
	_, err = alice.ChangeProfile(ctx, longest)
	require.NoError(t, err)
	_, err = alice.ChangeProfile(ctx, client.ProfileChange{DisplayName: "Alice A.", Colour: "teal"})
	require.NoError(t, err)
	_, err = bob.Profile(ctx, "x")
	require.True(t, client.IsCode(err, "not_found"), "%v", err)

	t.Run("lists of users show it", func(t *testing.T) {
		want := client.User{ID: alice.User.ID, Name: "Alice", DisplayName: "Alice A.", Colour: "teal"}
		byID, err := bob.Users(ctx, alice.User.ID, bob.User.ID)
		require.NoError(t, err)
		require.Len(t, byID, 2)
		require.Contains(t, byID, want)
		byName, _, err := bob.FindUser(ctx, "alice")
		require.NoError(t, err)
		require.Equal(t, want, byName)
		byPrefix, err := bob.SearchUsers(ctx, "al")
		require.NoError(t, err)
		require.Equal(t, []client.User{want}, byPrefix)
	})
}

func TestPreferences(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	standard := client.Preferences{Theme: "system", EnterSends: true, Receipts: true, Typing: true}
	p, err := alice.Preferences(ctx)
	require.NoError(t, err)
	require.Equal(t, standard, p)
	mine := client.Preferences{Theme: "dark"}
	require.NoError(t, alice.ChangePreferences(ctx, mine))
	p, err = w.again(alice).Preferences(ctx)
	require.NoError(t, err)
	require.Equal(t, mine, p, "on each device")
	p, err = bob.Preferences(ctx)
	require.NoError(t, err)
	require.Equal(t, standard, p, "and nobody else's")
	err = alice.ChangePreferences(ctx, client.Preferences{Theme: "pink"})
	require.True(t, client.IsCode(err, "bad_request"), "%v", err)
	access, err := alice.AccessToken(ctx)
	require.NoError(t, err)
	status, body := call(t, "PUT", w.url+"/api/auth/preferences", access, `{"theme":"dark","receipts":true,"typing":true}`)
	require.Equal(t, 400, status, "one is missing: %s", body)
}

// fetch follows nothing and gives all of an answer.
func fetch(t *testing.T, url string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res, b
}

func TestPictures(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	text := "<script>alert(1)</script>"

	// A PNG that says where it was taken, and behind whose end stands a page.
	polyglot := drawing(t, 300, 150)
	polyglot = polyglot[:33] + "\x00\x00\x00\x05tEXtsecret" + "\x00\x00\x00\x00" + polyglot[33:]
	_, err := alice.ChangePicture(ctx, []byte(polyglot))
	require.True(t, client.IsCode(err, "bad_request"), "a chunk with a wrong sum: %v", err)
	polyglot = drawing(t, 300, 150) + text
	p, err := alice.ChangePicture(ctx, []byte(polyglot))
	require.NoError(t, err)
	require.EqualValues(t, 1, p.Version)

	res, kept := fetch(t, w.url+p.Picture)
	require.Equal(t, 200, res.StatusCode)
	require.NotContains(t, string(kept), text)
	for header, want := range map[string]string{
		"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
		"Cache-Control": "private, max-age=31536000, immutable", "Content-Disposition": "inline; filename=picture.png",
	} {
		require.Equal(t, want, res.Header.Get(header), header)
	}
	m, err := png.Decode(bytes.NewReader(kept))
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 128, 64), m.Bounds())
	require.Equal(t, color.NRGBAModel.Convert(color.NRGBA{R: 255, A: 255}), color.NRGBAModel.Convert(m.At(3, 3)))
	require.Equal(t, color.NRGBAModel.Convert(color.NRGBA{B: 255, A: 255}), color.NRGBAModel.Convert(m.At(124, 60)))

	t.Run("others find it", func(t *testing.T) {
		seen, err := bob.Profile(ctx, alice.User.ID)
		require.NoError(t, err)
		require.Equal(t, p.Picture, seen.Picture)
		found, _, err := bob.FindUser(ctx, "alice")
		require.NoError(t, err)
		require.Equal(t, p.Picture, found.Picture)
		c := client.New(w.url)
		t.Cleanup(c.Close)
		b, kind, err := c.Picture(ctx, found.Picture)
		require.NoError(t, err)
		require.Equal(t, kept, b)
		require.Equal(t, "image/png", kind)
	})
	t.Run("but not without its key", func(t *testing.T) {
		path, _, _ := strings.Cut(p.Picture, "?")
		for _, address := range []string{path, path + "?v=", path + "?v=x", strings.Replace(p.Picture, alice.User.ID, bob.User.ID, 1)} {
			res, _ := fetch(t, w.url+address)
			require.Equal(t, 404, res.StatusCode, address)
		}
	})
	t.Run("a JPEG, and another address for it", func(t *testing.T) {
		var b bytes.Buffer
		require.NoError(t, jpeg.Encode(&b, draw(1024, 8), nil))
		after, err := alice.ChangePicture(ctx, b.Bytes())
		require.NoError(t, err)
		require.NotEqual(t, p.Picture, after.Picture)
		res, _ := fetch(t, w.url+p.Picture)
		require.Equal(t, 404, res.StatusCode)
		res, kept := fetch(t, w.url+after.Picture)
		require.Equal(t, "image/png", res.Header.Get("Content-Type"))
		m, err := png.Decode(bytes.NewReader(kept))
		require.NoError(t, err)
		require.Equal(t, image.Rect(0, 0, 128, 1), m.Bounds())
		p = after
	})
	t.Run("nothing else", func(t *testing.T) {
		var g bytes.Buffer
		require.NoError(t, gif.Encode(&g, draw(8, 8), nil))
		access, err := alice.AccessToken(ctx)
		require.NoError(t, err)
		for name, tc := range map[string]struct {
			body   string
			status int
		}{
			"nothing":          {"", 415},
			"a vector picture": {`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`, 415},
			"a page":           {"<!doctype html>" + text, 415},
			"a GIF":            {g.String(), 415},
			"half a PNG":       {drawing(t, 64, 64)[:90], 400},
			"too wide":         {drawing(t, 1025, 1), 400},
			"too high":         {drawing(t, 1, 1025), 400},
			"a bomb":           {huge(t), 400},
			"too many bytes":   {drawing(t, 1, 1) + strings.Repeat("x", 64<<10), 413},
		} {
			status, body := callAs(t, "PUT", w.url+"/api/auth/profile/picture", access, "image/png", tc.body)
			require.Equal(t, tc.status, status, "%s: %s", name, body)
		}
		now, err := alice.Profile(ctx, alice.User.ID)
		require.NoError(t, err)
		require.Equal(t, p, now)
	})
	t.Run("until it is taken away", func(t *testing.T) {
		after, err := alice.DeletePicture(ctx)
		require.NoError(t, err)
		require.Empty(t, after.Picture)
		res, _ := fetch(t, w.url+p.Picture)
		require.Equal(t, 404, res.StatusCode)
		n, err := w.database("auth").Collection("pictures").CountDocuments(ctx, bson.M{"_id": alice.User.ID})
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// huge is a small PNG whose header speaks of two milliards of pixels.
func huge(t *testing.T) string {
	t.Helper()
	b := []byte(drawing(t, 1, 1))
	copy(b[16:], []byte{0, 0, 0xb0, 0, 0, 0, 0xb0, 0})
	sum := crc32.ChecksumIEEE(b[12:29])
	copy(b[29:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	return string(b)
}
