package lab

type repoServer struct{}

func (*repoServer) close() {}
