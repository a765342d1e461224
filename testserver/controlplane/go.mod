module github.com/gitops-kit/sdk/testserver/controlplane

go 1.26.6
