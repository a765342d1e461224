module github.com/gitops-kit/sdk/untar

go 1.26.6
