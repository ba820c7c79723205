package wire

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Limits of a profile.
const (
	MaxDisplayNameRunes = 64
	MaxBioRunes         = 280
	MaxStatusRunes      = 80
	// MaxPicturePixels is the largest width and height of a picture that is taken, PictureSize that of one that is kept.
	MaxPicturePixels = 1024
	PictureSize      = 128
)

// Profile is what a user says of themselves.
type Profile struct {
	User        User   `json:"user"`
	DisplayName string `json:"display_name"`
	Colour      string `json:"colour"`
	Bio         string `json:"bio"`
	Status      string `json:"status"`
	Picture     string `json:"picture,omitempty"` // its address, if there is one
	Version     int64  `json:"version"`           // 0: never changed
}

// ProfileChange is what PUT /api/auth/profile takes.
type ProfileChange struct {
	DisplayName string `json:"display_name"`
	Colour      string `json:"colour"`
	Bio         string `json:"bio"`
	Status      string `json:"status"`
}

// Clean gives a change as it is kept, or says what is wrong with it. Bio and status may be empty.
func (p ProfileChange) Clean() (clean ProfileChange, err error) {
	if clean.DisplayName, err = cleanText("display_name", p.DisplayName, MaxDisplayNameRunes, false); err != nil {
		return clean, err
	}
	if !ValidColour(p.Colour) {
		return clean, fmt.Errorf("colour must be #rrggbb or one of %s", strings.Join(Colours(), ", "))
	}
	clean.Colour = strings.ToLower(p.Colour)
	if strings.TrimSpace(p.Bio) != "" {
		if clean.Bio, err = cleanText("bio", p.Bio, MaxBioRunes, true); err != nil {
			return clean, err
		}
	}
	if strings.TrimSpace(p.Status) != "" {
		clean.Status, err = cleanText("status", p.Status, MaxStatusRunes, false)
	}
	return clean, err
}

// Colours are the names that a profile's colour may have beside #rrggbb.
func Colours() []string {
	return []string{"red", "orange", "amber", "green", "teal", "blue", "indigo", "violet", "pink", "slate"}
}

// ColourOf gives the colour of a user who has chosen none; it is always the same one.
func ColourOf(user string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(user)) // never fails
	all := Colours()
	return all[h.Sum32()%uint32(len(all))] //nolint:gosec // ten
}

// ValidColour says whether s can be a profile's colour.
func ValidColour(s string) bool {
	hex, ok := strings.CutPrefix(s, "#")
	if !ok {
		return slices.Contains(Colours(), s)
	}
	return len(hex) == 6 && strings.Trim(hex, "0123456789abcdefABCDEF") == ""
}

// Preferences are how a user's own pages behave. The services keep them and do nothing with them.
type Preferences struct {
	Theme      string `json:"theme" bson:"theme"`             // system, dark or light
	EnterSends bool   `json:"enter_sends" bson:"enter_sends"` // else Ctrl-Enter does
	Receipts   bool   `json:"receipts" bson:"receipts"`       // others may see what was read
	Typing     bool   `json:"typing" bson:"typing"`           // others may see that something is being written
}

// DefaultPreferences are those of a user who has chosen none.
func DefaultPreferences() Preferences {
	return Preferences{Theme: "system", EnterSends: true, Receipts: true, Typing: true}
}

// ValidTheme says whether s can be a theme.
func ValidTheme(s string) bool { return s == "system" || s == "dark" || s == "light" }

// States of a user, and of a device.
const (
	StateOnline  = "online"
	StateAway    = "away"
	StateOffline = "offline"
)

// FrameAway is a client's word that nobody is at the device, or somebody again.
const FrameAway = "away"
