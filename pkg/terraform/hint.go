package terraform

import (
	"regexp"
	"strings"
)

// hints say what to do about errors that every course meets. In them $1 is what the pattern captured, and STACK the stack.
var hints = []struct{ pattern, hint string }{
	{`(?s)Error acquiring the state lock.*\bID:\s+(\S+)`, "Somebody else works on this state, or a terraform that was killed left its lock behind. If nobody does: labctl exec STACK -- force-unlock $1"},
	{`(?i)az login|unable to build authorizer|could not configure AzureCli Authorizer|subscription_id.* is a required`, "Nobody is logged in to Azure: az login, then export ARM_SUBSCRIPTION_ID=…, or set ARM_CLIENT_ID, ARM_CLIENT_SECRET and ARM_TENANT_ID."},
	{`AuthorizationFailed|does not have authorization to perform action '([^']+)'`, "Your account lacks a role for this. Who you are: az account show. What you may: az role assignment list --assignee YOU --all"},
	{`MissingSubscriptionRegistration.*namespace '([^']+)'`, "The subscription has never used this service: az provider register --namespace $1"},
	{`SkuNotAvailable|QuotaExceeded|quota`, "The size is not to be had there, or your quota of it is used up: choose another size or location in lab.hcl, or see az vm list-usage --location LOCATION"},
	{`StorageAccountAlreadyTaken|AlreadyInAnotherResourceGroup|is already in use`, "The name is taken, and it has to be unique in all of the cloud: change the lab's name in lab.hcl."},
	{`already exists - to be managed via Terraform this resource needs to be imported`, "It was made by other means, or by a run whose state was lost: labctl exec STACK -- import ADDRESS ID, or remove it there."},
	{`Failed to query available provider packages|could not connect to registry|registry\.terraform\.io`, "Terraform cannot reach the registry of providers. Behind a mirror, name it in a CLI configuration: export TF_CLI_CONFIG_FILE=…"},
	{`Inconsistent dependency lock file`, "The stack's .terraform.lock.hcl is for other versions: labctl exec STACK -- init -upgrade"},
	{`no space left on device`, "The disk is full: labctl doctor says how much space the lab needs."},
	{`Saved plan is stale`, "The state moved on since the plan was made: plan again."},
}

// hintFor gives the hint for what terraform said, or "".
func hintFor(stack, text string) string {
	for _, h := range hints {
		pattern := regexp.MustCompile(h.pattern)
		match := pattern.FindStringSubmatchIndex(text)
		if match == nil {
			continue
		}
		out := pattern.ExpandString(nil, h.hint, text, match)
		return strings.ReplaceAll(string(out), "STACK", stack)
	}
	return ""
}
