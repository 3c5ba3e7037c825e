// Package manifests holds what deploy/kubernetes builds against what an API server
// would say of it, and against what we promise of every container. It is a module
// of its own, since it has a good part of Kubernetes in it.
package manifests

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	// The versions that are decoded.
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
)

// shutdownSeconds is how long requests in flight get when a service stops:
// shutdownTimeout in shared/service/run.go.
const shutdownSeconds = 15

// objects are what a folder builds, by kind.
type objects struct {
	deployments []*appsv1.Deployment
	services    []*corev1.Service
	budgets     []*policyv1.PodDisruptionBudget
	policies    []*networkingv1.NetworkPolicy
}

// faults builds a folder with kustomize and returns what is wrong with it. options
// has the environment variables that each of our programs knows.
func faults(dir string, options map[string][]string) ([]string, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	var all objects
	var found []string
	decoder := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err == nil {
			err = refused(object)
		}
		if err != nil {
			found = append(found, fmt.Sprintf("%s %s: %v", r.GetKind(), r.GetName(), err))
			continue
		}
		switch o := object.(type) {
		case *appsv1.Deployment:
			all.deployments = append(all.deployments, o)
		case *corev1.Service:
			all.services = append(all.services, o)
		case *policyv1.PodDisruptionBudget:
			all.budgets = append(all.budgets, o)
		case *networkingv1.NetworkPolicy:
			all.policies = append(all.policies, o)
		}
	}
	pods, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	for _, d := range all.deployments {
		var wrong []string
		template := d.Spec.Template
		restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		if result := podsecurity.AggregateCheckResults(pods.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)); !result.Allowed {
			wrong = append(wrong, "not restricted: "+result.ForbiddenDetail())
		}
		wrong = append(wrong, brokenPromises(d)...)
		wrong = append(wrong, unknownOptions(d, options)...)
		wrong = append(wrong, all.unprotected(d)...)
		for _, w := range wrong {
			found = append(found, "Deployment "+d.Name+": "+w)
		}
	}
	return append(found, all.servesNobody()...), nil
}

// refused does what an API server does with a new object: it sets what is left out,
// and looks whether the whole makes sense. A kind that is not here is not expected:
// a Secret above all.
func refused(object runtime.Object) error {
	object = object.DeepCopyObject()
	legacyscheme.Scheme.Default(object)
	inside, err := legacyscheme.Scheme.UnsafeConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return err
	}
	var found field.ErrorList
	switch o := inside.(type) {
	case *apps.Deployment:
		found = appsvalidation.ValidateDeployment(o, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *core.Service:
		if o.Spec.ClusterIP != "" {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		}
		found = corevalidation.ValidateServiceCreate(o)
	case *core.ServiceAccount:
		found = corevalidation.ValidateServiceAccount(o)
	case *core.ConfigMap:
		found = corevalidation.ValidateConfigMap(o)
	case *networking.NetworkPolicy:
		found = networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
	case *policy.PodDisruptionBudget:
		found = policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	default:
		return errors.New("no such kind is expected")
	}
	return found.ToAggregate()
}

// brokenPromises returns what a Deployment lacks that each of ours has.
func brokenPromises(d *appsv1.Deployment) []string {
	var found []string
	pod := d.Spec.Template.Spec
	no := func(what string, kept bool) {
		if !kept {
			found = append(found, what)
		}
	}
	no("it gets a token of the API", pod.AutomountServiceAccountToken != nil && !*pod.AutomountServiceAccountToken)
	rolling := d.Spec.Strategy.RollingUpdate
	no("an upgrade takes one away before there is another",
		rolling != nil && rolling.MaxUnavailable != nil && rolling.MaxUnavailable.String() == "0")
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		no(c.Name+" can write its root", c.SecurityContext != nil && c.SecurityContext.ReadOnlyRootFilesystem != nil && *c.SecurityContext.ReadOnlyRootFilesystem)
		no(c.Name+" has no readiness probe", c.ReadinessProbe != nil)
		no(c.Name+" has no liveness probe", c.LivenessProbe != nil)
		no(c.Name+" requests no processor", !c.Resources.Requests.Cpu().IsZero())
		no(c.Name+" requests no memory", !c.Resources.Requests.Memory().IsZero())
		no(c.Name+" has no limit of memory", !c.Resources.Limits.Memory().IsZero())
		no(c.Name+": its image is not of one version: "+c.Image, pinned(c.Image))
		var sleep int64
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
			sleep = c.Lifecycle.PreStop.Sleep.Seconds
		}
		no(c.Name+" stops while it is still asked", sleep > 0)
		no(c.Name+" is killed before it has stopped",
			pod.TerminationGracePeriodSeconds != nil && *pod.TerminationGracePeriodSeconds > sleep+shutdownSeconds)
		for _, env := range c.Env {
			no(c.Name+" has a secret in it: "+env.Name, env.Value == "" || !secret(env.Name, env.Value))
		}
	}
	return found
}

// pinned says whether an image's reference is of one version: a digest, or a tag
// with at least two parts.
func pinned(image string) bool {
	if strings.Contains(image, "@sha256:") {
		return true
	}
	_, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return ok && strings.Count(tag, ".") >= 1 && strings.ContainsAny(tag, "0123456789")
}

// secret says whether a value should be in a Secret.
func secret(name, value string) bool {
	for _, ending := range []string{"PASSWORD", "KEY", "TOKEN", "SECRET"} {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	_, after, _ := strings.Cut(value, "://")
	user, _, ok := strings.Cut(after, "@")
	return ok && strings.Contains(user, ":")
}

// unknownOptions returns the variables that the program does not know: it would not
// look at them.
func unknownOptions(d *appsv1.Deployment, options map[string][]string) []string {
	known, ours := options[d.Name]
	if !ours {
		return nil
	}
	var found []string
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, env := range c.Env {
			if !slices.Contains(known, env.Name) {
				found = append(found, "the program has no option "+env.Name)
			}
		}
	}
	return found
}

// unprotected says what other objects should do for a Deployment's pods and don't.
func (o *objects) unprotected(d *appsv1.Deployment) []string {
	var found []string
	pods := labels.Set(d.Spec.Template.Labels)
	budgets := 0
	for _, b := range o.budgets {
		if selects(b.Spec.Selector, pods) {
			budgets++
		}
	}
	if budgets != 1 { // with two, nothing can be evicted
		found = append(found, fmt.Sprintf("%d PodDisruptionBudgets are of its pods, want 1", budgets))
	}
	for _, way := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
		if !slices.ContainsFunc(o.policies, func(p *networkingv1.NetworkPolicy) bool {
			return slices.Contains(p.Spec.PolicyTypes, way) && selects(&p.Spec.PodSelector, pods)
		}) {
			found = append(found, fmt.Sprintf("no NetworkPolicy restricts its %s", way))
		}
	}
	return found
}

// servesNobody returns the ports of Services that lead to no container.
func (o *objects) servesNobody() []string {
	var found []string
	for _, s := range o.services {
		for _, port := range s.Spec.Ports {
			leads := func(d *appsv1.Deployment) bool {
				return labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)) &&
					slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
						return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
							// Without an address of its own a Service translates no ports.
							return p.Name == port.TargetPort.StrVal && (s.Spec.ClusterIP != corev1.ClusterIPNone || p.ContainerPort == port.Port)
						})
					})
			}
			if !slices.ContainsFunc(o.deployments, leads) {
				found = append(found, fmt.Sprintf("Service %s: its port %s leads to no container", s.Name, port.Name))
			}
		}
	}
	return found
}

func selects(selector *metav1.LabelSelector, pods labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(pods)
}
