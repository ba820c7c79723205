package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// minSecret is how many characters KEY_ENCRYPTION_SECRET must have: those of a UUID, or of 16 random bytes in hexadecimal digits.
const minSecret = 32

// sealer encrypts the seeds of signing keys with a key that is not in the database, so that whoever reads the database can make no tokens.
type sealer struct{ aead cipher.AEAD }

// newSealer derives the key from the secret.
func newSealer(secret string) (sealer, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "signing seeds of auth", 32)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the key of the signing seeds: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the key of the signing seeds: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the key of the signing seeds: %w", err)
	}
	return sealer{aead}, nil
}

// seal encrypts the seed of the key with that id. The id is authenticated too: no key can stand in another's place.
func (s sealer) seal(kid string, seed []byte) []byte {
	return s.aead.Seal(nil, nil, seed, []byte(kid)) //nolint:gosec // the AEAD makes a random nonce itself, and takes none
}

// unseal decrypts what seal has made.
func (s sealer) unseal(kid string, sealed []byte) ([]byte, error) {
	seed, err := s.aead.Open(nil, nil, sealed, []byte(kid))
	if err != nil {
		return nil, fmt.Errorf("signing key %s is encrypted with another KEY_ENCRYPTION_SECRET, or was changed; set the one of before: %w", kid, err)
	}
	return seed, nil
}

// isPlain says whether a seed is one of an earlier version, which did not encrypt them.
func isPlain(seed []byte) bool { return len(seed) == ed25519.SeedSize }
