using Platform.Compliance.Audit;
using Platform.Compliance.Reports;
using Platform.Compliance.Subjects;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("compliancedb");
builder.AddMessaging("compliance");
builder.AddMetricsClient();
builder.AddIncidentsClient();

builder.AddAudit();
builder.AddSubjects();
builder.AddReports();

var app = builder.Build();

app.MapDefaultEndpoints();
app.MapAudit();
app.MapSubjects();
app.MapReports();
app.MapDeadLetters("compliance");

app.Run();
