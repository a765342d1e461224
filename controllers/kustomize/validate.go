// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"regexp"

	"k8s.io/apimachinery/pkg/util/validation"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/cel"
)

// Validate refuses, as stalled failures, what is wrong with the spec itself.
// enabled tells which feature gates are on; c compiles its expressions.
func Validate(o *v1.Kustomization, enabled func(string) bool, f Flags, c *cel.Compiler) error {
	if name := o.Spec.ServiceAccountName; name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
		return stalled(meta.InvalidSpecReason, nil, "spec.serviceAccountName '%s' is not a name of a ServiceAccount", name)
	}
	if d := o.Spec.Decryption; d != nil {
		if d.ServiceAccountName != "" && !enabled("ObjectLevelWorkloadIdentity") {
			return stalled(meta.FeatureGateDisabledReason, nil, "to use spec.decryption.serviceAccountName for decryption authentication please enable the ObjectLevelWorkloadIdentity feature gate in the controller")
		}
		return stalled(meta.FeatureGateDisabledReason, nil, "spec.decryption is not served by this installation")
	}
	if err := checkExpressions(o, c); err != nil {
		return err
	}
	for _, d := range o.Spec.DependsOn {
		if f.RestrictDependsOn && d.Namespace != "" && d.Namespace != o.Namespace {
			return stalled(meta.AccessDeniedReason, nil, "can't access '%s/%s/%s', cross-namespace references have been blocked", dependencyKind(d).Kind, d.Namespace, d.Name)
		}
	}
	return checkTargets(o)
}

// checkTargets compiles the expressions of spec.ignore.
func checkTargets(o *v1.Kustomization) error {
	for i, rule := range o.Spec.Ignore {
		if rule.Target == nil {
			continue
		}
		for _, e := range []string{rule.Target.Group, rule.Target.Version, rule.Target.Kind, rule.Target.Name, rule.Target.Namespace} {
			if _, err := regexp.Compile("^(?:" + e + ")$"); err != nil {
				return stalled(meta.InvalidSpecReason, err, "spec.ignore[%d].target: %v", i, err)
			}
		}
	}
	return nil
}
