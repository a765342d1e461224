module github.com/gitops-kit/sdk/runtime

go 1.26.6
