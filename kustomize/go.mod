module github.com/gitops-kit/sdk/kustomize

go 1.26.6
