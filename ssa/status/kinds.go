// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status

// selectedNode is set on a claim when a pod that uses it was scheduled.
const selectedNode = "volume.kubernetes.io/selected-node"

func (x obj) claim() Result {
	switch phase := x.text("status", "phase"); phase {
	case "Bound":
		return current("Bound", "claim is bound")
	case "Lost":
		return failed("Lost", "the volume of the claim is lost")
	case "Pending":
		class, named := nested(x.m, "spec", "storageClassName").(string)
		if x.text("metadata", "annotations", selectedNode) != "" || x.o.BindingMode == nil || named && class == "" {
			return progress("NotBound", "claim is not bound") // "" asks for no class, not for the default one
		}
		if mode, ok := x.o.BindingMode(class); ok && mode == "WaitForFirstConsumer" {
			return current("WaitingForConsumer", "claim is bound when a pod uses it")
		}
		return progress("NotBound", "claim is not bound")
	default:
		return progress("NotBound", "claim is not bound. Phase: %q", phase)
	}
}

func (x obj) service() Result {
	if x.text("spec", "type") != "LoadBalancer" {
		return current("ServiceReady", "service is ready")
	}
	if x.text("spec", "clusterIP") != "" {
		return current("ServiceReady", "service is ready")
	}
	return progress("NoIPAssigned", "cluster IP of the service is not assigned")
}

func (x obj) definition() Result {
	if c, ok := x.condition("NamesAccepted"); ok && c.status == "False" {
		return failed(or(c.reason, "NamesNotAccepted"), "%s", c.message)
	}
	c, ok := x.condition("Established")
	switch {
	case !ok:
		return progress("Installing", "definition is being installed")
	case c.status == "True":
		return current("Established", "definition is established")
	case c.status == "False" && c.reason != "Installing":
		return failed(or(c.reason, "NotEstablished"), "%s", c.message)
	}
	return progress("Installing", "definition is being installed")
}

func (x obj) apiService() Result {
	if _, ok := x.isTrue("Available"); ok {
		return current("Available", "API service is available")
	}
	c, _ := x.condition("Available")
	return progress(or(c.reason, "NotAvailable"), "%s", or(c.message, "API service is not available"))
}
