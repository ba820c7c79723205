package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	blobs "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"

	"github.com/labctl/labctl/pkg/stack"
)

// blobStore keeps a lock as the lease of a blob beside the state: the lease of the state itself is terraform's. The blob's
// content says who holds it. https://learn.microsoft.com/rest/api/storageservices/lease-blob
type blobStore struct {
	blob *blockblob.Client
	at   string
}

// Error codes of the service: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
var (
	codesHeld   = []string{"LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired"}
	codesAbsent = []string{"ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"}
	codesLost   = []string{
		"LeaseIdMismatchWithLeaseOperation", "LeaseNotPresentWithLeaseOperation", "LeaseIsBrokenAndCannotBeRenewed", "LeaseIsBreakingAndCannotBeChanged",
		"LeaseLost", "LeaseIdMismatchWithBlobOperation", "LeaseNotPresentWithBlobOperation", "BlobNotFound", "ContainerNotFound", "ContainerBeingDeleted",
	}
)

func newBlobStore(c settings, o Options) (*blobStore, error) {
	account, container, key := c.get("storage_account_name"), c.get("container_name"), c.get("key")
	if account == "" || container == "" || key == "" {
		return nil, fmt.Errorf("azurerm without storage_account_name, container_name or key: %w", stack.ErrNoRemoteLock)
	}
	authority, domain, err := azureCloud(c.get("environment", "ARM_ENVIRONMENT"))
	if err != nil {
		return nil, err
	}
	endpoint := o.BlobEndpoint
	if endpoint == "" {
		endpoint = "https://" + account + ".blob." + domain
	}
	at, err := url.JoinPath(endpoint, container, key+suffix)
	if err != nil {
		return nil, fmt.Errorf("the address of the lock: %w", err)
	}
	options := &blockblob.ClientOptions{ClientOptions: azcore.ClientOptions{
		Cloud: authority,
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 2 * time.Second, TryTimeout: lasts / 6},
	}}
	s := &blobStore{at: at}
	accessKey, sas := c.get("access_key", "ARM_ACCESS_KEY"), c.get("sas_token", "ARM_SAS_TOKEN")
	switch {
	case accessKey != "":
		shared, err := blob.NewSharedKeyCredential(account, accessKey)
		if err != nil {
			return nil, errors.New("access_key of the azurerm backend is not base64") // the error may quote it
		}
		s.blob, err = blockblob.NewClientWithSharedKeyCredential(at, shared, options)
		return s, err
	case sas != "":
		s.blob, err = blockblob.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(sas, "?"), options)
		return s, plain(err)
	case c.get("use_azuread_auth", "ARM_USE_AZUREAD") != "true":
		// terraform asks Azure for the account's key then, which takes rights that nobody needs for the state alone.
		return nil, fmt.Errorf("azurerm without use_azuread_auth, access_key or sas_token: %w", stack.ErrNoRemoteLock)
	}
	who, err := azureCredential(c, azcore.ClientOptions{Cloud: authority})
	if err != nil {
		return nil, fmt.Errorf("log in to Azure: %w", err)
	}
	s.blob, err = blockblob.NewClient(at, who, options)
	return s, err
}

func azureCloud(name string) (cloud.Configuration, string, error) {
	switch strings.ToLower(name) {
	case "", "public":
		return cloud.AzurePublic, "core.windows.net", nil
	case "usgovernment":
		return cloud.AzureGovernment, "core.usgovcloudapi.net", nil
	case "china":
		return cloud.AzureChina, "core.chinacloudapi.cn", nil
	}
	return cloud.Configuration{}, "", fmt.Errorf("azurerm in the environment %q: %w", name, stack.ErrNoRemoteLock)
}

// azureCredential is of whoever the backend or the environment says, as terraform reads it, else of the user of the az command.
func azureCredential(c settings, o azcore.ClientOptions) (azcore.TokenCredential, error) {
	tenant, client := c.get("tenant_id", "ARM_TENANT_ID"), c.get("client_id", "ARM_CLIENT_ID")
	secret, file := c.get("client_secret", "ARM_CLIENT_SECRET"), c.get("oidc_token_file_path", "ARM_OIDC_TOKEN_FILE_PATH")
	token := c.get("oidc_token", "ARM_OIDC_TOKEN")
	oidc := c.get("use_oidc", "ARM_USE_OIDC") == "true"
	switch {
	case client != "" && tenant != "" && oidc && (file != "" || token != ""):
		return azidentity.NewClientAssertionCredential(tenant, client, func(context.Context) (string, error) {
			if token != "" {
				return token, nil
			}
			assertion, err := os.ReadFile(file) // a pipeline renews it
			return strings.TrimSpace(string(assertion)), err
		}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o})
	case client != "" && tenant != "" && secret != "":
		return azidentity.NewClientSecretCredential(tenant, client, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o})
	case c.get("use_msi", "ARM_USE_MSI") == "true":
		options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o}
		if client != "" {
			options.ID = azidentity.ClientID(client)
		}
		return azidentity.NewManagedIdentityCredential(options)
	}
	return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: tenant})
}

func (s *blobStore) place() string { return s.at }

func (s *blobStore) lease(id string) (*blobs.BlobClient, error) {
	return blobs.NewBlobClient(s.blob, &blobs.BlobClientOptions{LeaseID: &id})
}

func (s *blobStore) acquire(ctx context.Context, me stack.LockHolder, dead string) (*stack.LockHolder, error) {
	lease, err := s.lease(me.ID)
	if err != nil {
		return nil, err
	}
	for range acquireTries {
		got, err := lease.AcquireLease(ctx, int32(lasts/time.Second), nil)
		switch {
		case err == nil:
			doc, err := s.read(ctx)
			if err == nil {
				err = s.write(ctx, me, got.Date, false)
			}
			if err != nil {
				_, undo := lease.ReleaseLease(context.WithoutCancel(ctx), nil)
				return nil, errors.Join(plain(err), plain(undo))
			}
			return doc.holder(), nil
		case isCode(err, "BlobNotFound"):
			if err := s.create(ctx); err != nil {
				return nil, err
			}
		case isCode(err, codesHeld...):
			doc, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			held := &stack.HeldError{Place: s.at}
			if holder := doc.holder(); holder != nil { // one that has not written yet stays unnamed
				held.Holder = *holder
			}
			if held.Holder.ID == "" || held.Holder.ID != dead {
				return nil, held
			}
			// Only the lease of that id is released: not one that somebody else has taken since.
			if theirs, err := s.lease(dead); err != nil {
				return nil, err
			} else if _, err := theirs.ReleaseLease(ctx, nil); err != nil && !isCode(err, codesLost...) {
				return nil, plain(err)
			}
		case isCode(err, codesAbsent...) || isUnknownAccount(ctx, net.DefaultResolver, err):
			return nil, fmt.Errorf("%w: %w", stack.ErrNoPlace, plain(err))
		default:
			return nil, plain(err)
		}
	}
	return nil, errors.New("others took the lock at the same time")
}

// create makes the blob, which holds nothing yet.
func (s *blobStore) create(ctx context.Context) error {
	none := azcore.ETagAny
	_, err := s.blob.Upload(ctx, streaming.NopCloser(bytes.NewReader(nil)), &blockblob.UploadOptions{
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &none}},
	})
	if isCode(err, append(codesHeld, "BlobAlreadyExists", "ConditionNotMet", "LeaseIdMissing")...) {
		return nil // somebody else was faster
	}
	return plain(err)
}

func (s *blobStore) renew(ctx context.Context, me stack.LockHolder) error {
	lease, err := s.lease(me.ID)
	if err != nil {
		return err
	}
	got, err := lease.RenewLease(ctx, nil)
	if err == nil {
		// The lease itself lasts: that the others read an earlier end is no reason to stop.
		if err = s.write(ctx, me, got.Date, false); !isCode(err, codesLost...) {
			return nil
		}
	}
	if isCode(err, codesLost...) {
		return &lostError{plain(err).Error()}
	}
	return plain(err)
}

func (s *blobStore) release(ctx context.Context, me stack.LockHolder) error {
	lease, err := s.lease(me.ID)
	if err != nil {
		return err
	}
	if err = s.write(ctx, me, nil, true); err == nil {
		_, err = lease.ReleaseLease(ctx, nil)
	}
	if isCode(err, "ContainerNotFound", "BlobNotFound", "ContainerBeingDeleted") { // it went with its place
		return nil
	}
	return plain(err)
}

func (s *blobStore) read(ctx context.Context) (*document, error) {
	got, err := s.blob.DownloadStream(ctx, nil)
	if err != nil {
		return nil, plain(err)
	}
	defer got.Body.Close() //nolint:errcheck // read to its end
	data, err := io.ReadAll(io.LimitReader(got.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the record of the lock: %w", plain(err))
	}
	doc := &document{}
	if json.Unmarshal(data, doc) != nil { // it is new, or was cut off: the lease alone counts
		return nil, nil
	}
	return doc, nil
}

func (s *blobStore) write(ctx context.Context, me stack.LockHolder, date *time.Time, released bool) error {
	me.Expires = time.Time{}
	if date != nil {
		me.Expires = date.UTC().Add(lasts)
	}
	data, err := json.MarshalIndent(newDocument(0, me, released), "", "  ")
	if err != nil {
		return err
	}
	_, err = s.blob.Upload(ctx, streaming.NopCloser(bytes.NewReader(data)), &blockblob.UploadOptions{
		AccessConditions: &blob.AccessConditions{LeaseAccessConditions: &blob.LeaseAccessConditions{LeaseID: &me.ID}},
	})
	return err
}

// isCode says whether the service answered with one of these codes.
func isCode(err error, codes ...string) bool {
	refused := (*azcore.ResponseError)(nil)
	if !errors.As(err, &refused) {
		return false
	}
	for _, code := range codes {
		if refused.ErrorCode == code {
			return true
		}
	}
	return false
}

// resolver looks names up. net.DefaultResolver is one.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// isUnknownAccount says whether the storage account has no name, which is how one that does not exist shows, while the name server
// knows a name that is always there.
func isUnknownAccount(ctx context.Context, names resolver, err error) bool {
	unknown := (*net.DNSError)(nil)
	if !errors.As(err, &unknown) || !unknown.IsNotFound {
		return false
	}
	_, err = names.LookupHost(ctx, "azure.microsoft.com")
	return err == nil
}
