package terraform

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHints(t *testing.T) {
	for text, want := range map[string]string{
		"Error acquiring the state lock\n\nLock Info:\n  ID:        6a2f-11\n  Path:      x":                                      "labctl exec 1-cluster -- force-unlock 6a2f-11",
		"Please run 'az login' to setup account.":                                                                                 "az login, then export ARM_SUBSCRIPTION_ID",
		"Code=\"MissingSubscriptionRegistration\" Message=\"not registered to use namespace 'Microsoft.ContainerService'\"":       "az provider register --namespace Microsoft.ContainerService",
		"The client 'x' does not have authorization to perform action 'Microsoft.Authorization/roleAssignments/write' over scope": "Your account lacks a role",
		"dial tcp: lookup registry.terraform.io: no such host":                                                                    "TF_CLI_CONFIG_FILE",
	} {
		require.Contains(t, hintFor("1-cluster", text), want)
	}
	require.Empty(t, hintFor("1-cluster", "local-exec provisioner error"))
}
