package terraform

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
)

// A state that cannot be read is no state that is not there. Only what a service itself says of the place counts, by the codes that its
// reference lists; everything else (rights, tenants, networks, a program that is missing) is an error.

// absentCodes gives the error codes by which a backend's service says that the place of a state does not exist.
//
//	azurerm  https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and Azure Resource Manager's common errors
//	s3       https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
//	gcs      ErrBucketNotExist of cloud.google.com/go/storage
func absentCodes(kind string) []string {
	switch kind {
	case "azurerm":
		return []string{"ContainerNotFound", "BlobNotFound", "ResourceNotFound", "ResourceGroupNotFound", "StorageAccountNotFound"}
	case "s3":
		return []string{"NoSuchBucket"}
	}
	return nil
}

// bucketGone is the text of ErrBucketNotExist, the one error of Google's client that has no code.
const bucketGone = "storage: bucket doesn't exist"

// errorCode matches a code where services and their clients write one: Code="X", (X), ErrorCode: X, X: text at the end of a prefix.
var errorCode = regexp.MustCompile(`(?:Code=\\?"|ErrorCode[=: ]+|ERROR CODE: |\b(?:Code|code): ?\\?"?|error code "?|api error )([A-Za-z]+)\b`)

// unknownHost matches the name of a host that the name server does not know, as Go reports it.
var unknownHost = regexp.MustCompile(`lookup ([A-Za-z0-9.-]+)(?: on [^ ]+)?: no such host`)

// resolver looks names up. net.DefaultResolver is one.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// isAbsent says whether terraform failed because the place of the state does not exist.
func isAbsent(ctx context.Context, names resolver, kind string, err *Error) bool {
	text := err.Output
	for _, d := range err.Diagnostics {
		text += "\n" + d.Summary + "\n" + d.Detail
	}
	codes := absentCodes(kind)
	for _, m := range errorCode.FindAllStringSubmatch(text, -1) {
		if slices.Contains(codes, m[1]) {
			return true
		}
	}
	if kind == "gcs" && strings.Contains(text, bucketGone) {
		return true
	}
	if m := unknownHost.FindStringSubmatch(text); m != nil && kind == "azurerm" {
		return isUnknownAccount(ctx, names, m[1])
	}
	return false
}

// account matches the host of an Azure storage account, whose name is part of it, and gives the service's domain.
var account = regexp.MustCompile(`^[a-z0-9]{3,24}\.((?:blob|dfs)\.[a-z.]+)$`)

// isUnknownAccount says whether a storage account's host does not exist while the name server answers: one that knows no name at all
// says nothing about this one.
func isUnknownAccount(ctx context.Context, names resolver, host string) bool {
	m := account.FindStringSubmatch(host)
	if m == nil {
		return false
	}
	_, err := names.LookupHost(ctx, host)
	var unknown *net.DNSError
	if err == nil || !errors.As(err, &unknown) || !unknown.IsNotFound {
		return false
	}
	// A name that is always there: the account of Azure's own documentation and of no lab.
	_, err = names.LookupHost(ctx, "azure.microsoft.com")
	return err == nil
}
