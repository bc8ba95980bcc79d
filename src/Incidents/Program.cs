using Platform.Contracts;
using Platform.Incidents.FromAlerts;
using Platform.Incidents.Lifecycle;
using Platform.Incidents.Timeline;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("incidentsdb");
builder.AddMessaging("incidents");
builder.AddMetricsClient();

builder.AddLifecycle();
builder.AddIncidentsFromAlerts();
builder.AddTimeline();

var app = builder.Build();

app.MapDefaultEndpoints();
app.MapIncidents();
app.MapTimeline();
app.MapDeadLetters("incidents");

app.Run();
