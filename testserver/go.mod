module github.com/gitops-kit/sdk/testserver

go 1.26.6
