package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// picture is a user's picture, by the user's id. It is apart from the user, who is read far more often.
type picture struct {
	ID  string `bson:"_id"`
	Key string `bson:"key"` // in its address
	PNG []byte `bson:"png"`
}

// changePicture takes what the content says is a PNG or a JPEG, whatever the request's headers say. The pixels alone are kept, as
// a small PNG: nothing else that was in the file, be it a place where it was taken or a script, survives.
func (a *auth) changePicture(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	raw, err := service.ReadBody(w, r)
	if err != nil {
		return err
	}
	if err := a.drawing.Acquire(r.Context(), 1); err != nil {
		return fmt.Errorf("wait for a turn to draw: %w", err) // the caller has gone
	}
	kept, err := shrink(raw)
	a.drawing.Release(1)
	if err != nil {
		return err
	}
	p := picture{ID: caller.User, Key: rand.Text(), PNG: kept}
	if err := store.Upsert(r.Context(), a.pictures(), p.ID, bson.D{{Key: "$set", Value: bson.D{{Key: "key", Value: p.Key}, {Key: "png", Value: p.PNG}}}}); err != nil {
		return service.Unavailable("the database", err)
	}
	return a.setProfile(w, r, caller, bson.D{{Key: "profile.picture", Value: p.Key}})
}

func (a *auth) deletePicture(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	if err := store.Delete(r.Context(), a.pictures(), caller.User); err != nil {
		return service.Unavailable("the database", err)
	}
	return a.setProfile(w, r, caller, bson.D{{Key: "profile.picture", Value: ""}})
}

// showPicture needs no access token, which an <img> can't send: who has the profile has the picture's key. Another picture gets
// another key, so an answer is good for ever. Whatever the bytes were, no browser runs them.
func (a *auth) showPicture(w http.ResponseWriter, r *http.Request) error {
	id, key := r.PathValue("id"), r.URL.Query().Get("v")
	if !wire.ValidID(id) || key == "" {
		return service.NotFound("picture")
	}
	p, ok, err := store.Get[picture](r.Context(), a.pictures(), id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok || subtle.ConstantTimeCompare([]byte(p.Key), []byte(key)) != 1 {
		return service.NotFound("picture")
	}
	h := w.Header()
	h.Set("Content-Type", "image/png")
	h.Set("Content-Length", strconv.Itoa(len(p.PNG)))
	h.Set("Content-Disposition", "inline; filename=picture.png")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	_, _ = w.Write(p.PNG) // the client may be gone
	return nil
}

type format struct {
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// formats are those that are taken, by how they begin. What else the image package may have learnt from others is not.
func formats() map[string]format {
	return map[string]format{"\x89PNG\r\n\x1a\n": {png.DecodeConfig, png.Decode}, "\xff\xd8\xff": {jpeg.DecodeConfig, jpeg.Decode}}
}

// shrink decodes a picture and encodes it anew, at most PictureSize wide and high. Its size is looked at before a pixel is decoded.
func shrink(raw []byte) ([]byte, error) {
	for magic, f := range formats() {
		if !bytes.HasPrefix(raw, []byte(magic)) {
			continue
		}
		c, err := f.config(bytes.NewReader(raw))
		if err != nil {
			return nil, service.BadRequest("the picture is broken")
		}
		if c.Width < 1 || c.Height < 1 || c.Width > wire.MaxPicturePixels || c.Height > wire.MaxPicturePixels {
			return nil, service.BadRequest("the picture has %d by %d pixels; at most %d by %d", c.Width, c.Height, wire.MaxPicturePixels, wire.MaxPicturePixels)
		}
		full, err := f.decode(bytes.NewReader(raw))
		if err != nil {
			return nil, service.BadRequest("the picture is broken")
		}
		return small(full)
	}
	return nil, &service.Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "a picture is a PNG or a JPEG"}
}

func small(full image.Image) ([]byte, error) {
	var out bytes.Buffer
	if err := png.Encode(&out, scale(full, wire.PictureSize)); err != nil {
		return nil, fmt.Errorf("encode the picture: %w", err)
	}
	return out.Bytes(), nil
}

// scale makes a copy that is at most limit wide and high; each of its pixels is the mean of those that it stands for.
func scale(from image.Image, limit int) *image.NRGBA {
	b := from.Bounds()
	w, h := b.Dx(), b.Dy()
	if longest := max(w, h); longest > limit {
		w, h = max(1, w*limit/longest), max(1, h*limit/longest)
	}
	to := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		top, bottom := b.Min.Y+y*b.Dy()/h, b.Min.Y+(y+1)*b.Dy()/h
		for x := range w {
			left, right := b.Min.X+x*b.Dx()/w, b.Min.X+(x+1)*b.Dx()/w
			to.Set(x, y, mean(from, image.Rect(left, top, right, bottom)))
		}
	}
	return to
}

func mean(from image.Image, of image.Rectangle) color.Color {
	var sum [4]uint64
	for y := of.Min.Y; y < of.Max.Y; y++ {
		for x := of.Min.X; x < of.Max.X; x++ {
			r, g, b, a := from.At(x, y).RGBA() // with alpha in them, as it must be for a mean
			sum[0], sum[1], sum[2], sum[3] = sum[0]+uint64(r), sum[1]+uint64(g), sum[2]+uint64(b), sum[3]+uint64(a)
		}
	}
	n := uint64(of.Dx() * of.Dy())                           //nolint:gosec // at least one
	part := func(i int) uint16 { return uint16(sum[i] / n) } //nolint:gosec // the mean of values of 16 bits
	return color.RGBA64{R: part(0), G: part(1), B: part(2), A: part(3)}
}
