module github.com/gitops-kit/sdk/examples

go 1.26.6
