package frontend

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// contentSecurityPolicy allows the page its own files and its own origin and nothing else: no inline script or style,
// no eval, no frame. 'self' in connect-src covers the WebSocket of the same host too (CSP level 3).
// Trusted types make the browser itself refuse a string that becomes HTML.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// The build names files under assets/ by their content, so a name never changes its meaning.
const (
	cacheForever  = "public, max-age=31536000, immutable"
	cacheValidate = "no-cache"
)

// An asset is one file of the page, ready to be sent.
type asset struct {
	plain, zipped []byte // zipped is nil where it saves nothing
	contentType   string
	cacheControl  string
	etag          string
}

type handler struct {
	assets  map[string]asset // by path without the leading slash
	missing []byte           // shown where there is no page; nil where there is one
}

func newHandler(files fs.FS) http.Handler {
	h := &handler{assets: map[string]asset{}}
	err := h.load(files)
	if _, ok := h.assets["index.html"]; err != nil || !ok {
		h.missing = explain(err)
	}
	return secure(h)
}

// load reads and compresses every file once: the page is small, and a request then costs a copy.
func (h *handler) load(files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		a := asset{
			plain:        content,
			contentType:  mime.TypeByExtension(path.Ext(name)),
			cacheControl: cacheValidate,
			etag:         `"` + hex.EncodeToString(sum[:12]) + `"`,
		}
		if a.contentType == "" {
			a.contentType = "application/octet-stream"
		}
		if strings.HasPrefix(name, "assets/") {
			a.cacheControl = cacheForever
		}
		if zipped := zip(content); len(zipped) < len(content) {
			a.zipped = zipped
		}
		h.assets[name] = a
		return nil
	})
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, r.Method+" is not for the page's server")
		return
	}
	if h.missing != nil {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(h.missing) // the client went away: nobody is left to tell
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if a, ok := h.assets[name]; ok {
		send(w, r, a)
		return
	}
	if !isRoute(name) {
		refuse(w, http.StatusNotFound, "no such file: "+strconv.Quote(r.URL.Path))
		return
	}
	send(w, r, h.assets["index.html"])
}

// isRoute tells the addresses that the page itself understands, such as /c/42, from those where HTML would only hide
// a mistake: a file that is gone, or a request for a service that the ingress sent here.
func isRoute(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first != "api" && first != "ws" && first != "assets" && !strings.Contains(path.Base(name), ".") || name == "" || name == "."
}

func send(w http.ResponseWriter, r *http.Request, a asset) {
	header := w.Header()
	header.Set("Cache-Control", a.cacheControl)
	header.Set("Vary", "Accept-Encoding")
	header.Set("ETag", a.etag)
	if matches(r.Header.Get("If-None-Match"), a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if a.zipped != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		header.Set("Content-Encoding", "gzip")
		body = a.zipped
	}
	header.Set("Content-Type", a.contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client went away: nobody is left to tell
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(why + "\n")) //nolint:gosec // G705: plain text that no client chose; an error means it went away
}

// secure sets the headers that every answer of the page carries.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin") // a page that opens this one gets no hold of its window
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		next.ServeHTTP(w, r)
	})
}

func matches(ifNoneMatch, etag string) bool {
	for candidate := range strings.SplitSeq(ifNoneMatch, ",") {
		if c := strings.TrimPrefix(strings.TrimSpace(candidate), "W/"); c == etag || c == "*" {
			return true
		}
	}
	return false
}

func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		weight, weighted := strings.CutPrefix(strings.TrimSpace(params), "q=")
		if !weighted {
			return true
		}
		q, err := strconv.ParseFloat(weight, 64)
		return err == nil && q > 0
	}
	return false
}

func zip(content []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return content // an unknown level only, and this one is known
	}
	if _, err := w.Write(content); err != nil {
		return content
	}
	if err := w.Close(); err != nil {
		return content
	}
	return out.Bytes()
}

var explanation = template.Must(template.New("missing").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The chat page is not built</title>
<h1>The chat page is not built into this server</h1>
<p>The services run, but this binary was compiled before the page was. Type:</p>
<pre>cd services/frontend/web
npm ci
npm run build</pre>
<p>and build the binary again, or let <code>make up</code> do both.</p>
{{with .}}<p>Reading the embedded files said: {{.}}</p>{{end}}
</html>
`))

func explain(cause error) []byte {
	var out bytes.Buffer
	if err := explanation.Execute(&out, cause); err != nil {
		return []byte(errNotBuilt.Error())
	}
	return out.Bytes()
}
