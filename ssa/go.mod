module github.com/gitops-kit/sdk/ssa

go 1.26.6
